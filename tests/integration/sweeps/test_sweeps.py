"""W&B sweep files, through W&B's own code: they are valid, every trial composes, and an agent runs them to a metric."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb.wandb_agent
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

import tests.support.trainings  # noqa: F401  # registers the tiny networks
from src.cli.arguments import comparable
from src.cli.config import check_keys
from src.cli.studies import with_trials
from src.commands.trials import BuildTrials, build_trial
from tests.integration.test_train import TINY
from tests.support.configs import CONF, FILMS, ROOT
from tests.support.configs import TINY as TINY_SEARCHPATH
from tests.support.miniatures import camvid_with_films
from tests.support.wandb_server import expand, offline_summary, serving

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))


def trials(sweep: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[list[str]]:
    """The command line of each trial, as W&B's agent makes it."""
    started: list[list[str]] = []

    class NoProcess:
        def __init__(self, command: list[str], **_: object) -> None:
            started.append(command)

    monkeypatch.setattr(wandb.wandb_agent, "AgentProcess", NoProcess)
    for key, value in {"WANDB_DIR": folder, "WANDB_SWEEP_ID": "grid", "WANDB_RUN_ID": "trial"}.items():
        monkeypatch.setenv(key, str(value))
    agent = wandb.wandb_agent.Agent(api=None, queue=None, sweep_id="grid")
    agent._sweep_command = sweep["command"]
    for arguments in expand(sweep):
        agent._command_run({"run_id": "trial", "program": sweep["program"], "args": arguments})
    return started


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("camvid")
    camvid_with_films(root)
    return root


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_every_trial_can_be_built(
    path: Path,
    composed: Callable[..., DictConfig],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    camvid: Path,
) -> None:
    monkeypatch.setenv("CAMVID_ROOT", str(camvid))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    sweep = yaml.safe_load(path.read_text())
    commands = trials(sweep, monkeypatch, tmp_path)
    assert len(commands) >= 3
    for command in commands:
        assert command[:4] == ["/usr/bin/env", "python", "-m", "src.train"]
        config = composed("train", tmp_path, *command[4:])
        assert [c for c in command if c.startswith("hydra.run.dir=")] == [
            "hydra.run.dir=logs/sweeps/${oc.env:WANDB_SWEEP_ID}/${oc.env:WANDB_RUN_ID}"
        ]
        assert config.callbacks.best.monitor == sweep["metric"]["name"]
        build_trial(config, tmp_path)
    check_keys(config)  # all trials have the same


def test_a_multirun_with_a_trial_that_cannot_be_built_starts_none(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    composed("train", tmp_path, TINY_SEARCHPATH, "network=tiny")
    films = [given for given in FILMS if not given.startswith("data.batch_size")]
    multirun = {
        "sweeper": {"_target_": "hydra.BasicSweeper"},
        "job": {"config_name": "train"},
        "sweep": {"dir": str(tmp_path)},
        "overrides": {
            "hydra": [TINY_SEARCHPATH],
            "task": [*films, "network=tiny", "data.batch_size=2,0", "model.optimizer.lr=0.1,-1"],
        },
    }
    with pytest.raises(SystemExit) as ended:
        BuildTrials().on_multirun_start(OmegaConf.create({"hydra": multirun}))
    assert ended.value.code == 2
    *each, last = capsys.readouterr().err.splitlines()
    assert "3 of 4 trials cannot be built, none was started" in last
    assert len(each) == 3
    assert "data.batch_size=2 model.optimizer.lr=-1: " in each[0]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_the_multirun_beside_a_sweep_is_the_same_grid(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = path.read_text()
    [line] = re.findall(r"^# python -m src\.train --multirun (.*)$", text, re.MULTILINE)
    given = with_trials("train", comparable(["--multirun", *line.split()]), CONF)[1:]
    overrides = OverridesParser.create().parse_overrides(given)
    [jobs] = BasicSweeper.split_arguments(overrides, None)
    theirs = {frozenset(o for o in t[4:] if not o.startswith(("logger=", "hydra."))) for t in trials(
        yaml.safe_load(text), monkeypatch, tmp_path
    )}  # fmt: skip
    assert {frozenset(map(_plain, job)) for job in jobs} == {frozenset(map(_plain, trial)) for trial in theirs}


def _plain(override: str) -> str:
    """`1` and `1.0`, `true` and `True` are the same value."""
    key, value = override.split("=", 1)
    return f"{key}={yaml.safe_load(value.lower())}" if not re.fullmatch(r"[\d.]+", value) else f"{key}={float(value)}"


def test_a_sweep_runs_from_the_agent_to_a_metric_in_the_summary(tmp_path: Path, street_cache: Path) -> None:
    """Offline: the real `wandb agent`, a server that only hands out the grid, and a trial of a few seconds."""
    sweep = yaml.safe_load((ROOT / "sweeps" / "lr_scale.yaml").read_text())
    small = [*TINY, f"paths.cache={street_cache}", "model.low_epochs=1", "logger.wandb.offline=true"]
    run_dir = f"hydra.run.dir={tmp_path}/${{oc.env:WANDB_RUN_ID}}"
    command = [run_dir if part.startswith("hydra.run.dir") else part for part in sweep["command"]]
    place = command.index("study=arseg_lr_scale")
    sweep["command"] = [*command[: place + 1], *small, *command[place + 1 :]]
    with serving(sweep, count=1) as environment:
        done = subprocess.run(
            [Path(sys.executable).parent / "wandb", "agent", "me/here/grid"],
            env={**os.environ, **environment, "WANDB_DIR": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert done.returncode == 0, done.stderr
    assert "trial=scale_0.3" in done.stderr, "the agent's log"
    [log] = (tmp_path / "trial0").glob("**/*.wandb")
    score = json.loads((tmp_path / "trial0" / "low" / "done.json").read_text())["val/miou"]
    assert offline_summary(log)["val/miou"] == score
