"""Run directories belong to one process at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from src.cli import run_directory
from src.cli.run_directory import RunDirectory
from src.locks import lock_folder, unlock_folder
from tests.support.configs import CONF
from tests.unit.test_locks import another_process_holds


def config_of(tmp_path: Path, *overrides: str) -> DictConfig:
    initialize_config_dir(str(CONF), version_base="1.3")
    return compose("eval", overrides=[f"paths.runs={tmp_path}", "checkpoint=x", *overrides], return_hydra_config=True)


def test_a_directory_in_use_is_refused_before_anything_is_written(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with another_process_holds(run) as process, pytest.raises(SystemExit) as ended:
        RunDirectory().on_run_start(config_of(tmp_path, f"hydra.run.dir={run}"))
    assert ended.value.code == 2
    assert f"hydra.run.dir={run} is in use by process {process.pid} on" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == [".lock"]


def test_two_default_directories_of_one_second_are_two(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    default = Path(config.hydra.run.dir)
    default.mkdir(parents=True)
    with another_process_holds(default):
        RunDirectory().on_run_start(config)
    assert config.hydra.run.dir == f"{default}_2"
    unlock_folder(Path(f"{default}_2"))


def test_only_the_first_rank_holds_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    with another_process_holds(tmp_path):
        RunDirectory().on_run_start(config_of(tmp_path, f"hydra.run.dir={tmp_path}"))


def test_a_full_disk_is_refused_at_once(tmp_path: Path, capsys) -> None:
    full = mock.patch.object(run_directory.shutil, "disk_usage", return_value=SimpleNamespace(free=4096))
    with full, pytest.raises(SystemExit):
        RunDirectory().on_run_start(config_of(tmp_path, f"hydra.run.dir={tmp_path}"))
    assert f"hydra.run.dir={tmp_path}: 4 kB are free on its disk; make room" in capsys.readouterr().err
    unlock_folder(tmp_path)
    assert lock_folder(tmp_path) is None
    unlock_folder(tmp_path)
