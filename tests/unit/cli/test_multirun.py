"""Jobs of a multirun: a failed one is reported and the rest run; several processes only where SLURM starts them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors
from src.commands.train import _reject_unsafe_multirun
from src.commands.trials import sample_of, trials_of
from src.errors import UserError
from src.training.slurm import check_allocation
from tests.support.configs import CONF

APP = """
x: 0
task: app
hydra:
  searchpath: ["file://CONF"]
  callbacks: {failed_jobs: {_target_: src.cli.multirun.FailedJobs}}
"""


def test_of_large_grids_each_value_is_built():
    numbers = ",".join(map(str, range(40)))
    trials = list(trials_of(["a=1,2,3", "b=x,y", f"lr={numbers}"]))
    chosen = sample_of(trials)
    assert {value for number in chosen for value in trials[number]} == {value for trial in trials for value in trial}
    assert len(chosen) < 80
    assert sample_of(trials[:20]) == list(range(20))
    assert sample_of(list(trials_of(["a=1,2", f"seed={numbers}"]))) == [0, 40], "seeds build the same"


SEVERAL = ("experiment=arseg_street", "hydra.mode=MULTIRUN", "trainer.devices=2")


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[int]:
    """Run an application of jobs that fail for x=1 and x=2; the jobs that ended well."""
    (folder / "app.yaml").write_text(APP.replace("CONF", str(CONF)))
    well: list[int] = []

    @hydra.main(version_base="1.3", config_path=str(folder), config_name="app")
    @reports_errors
    def main(config: DictConfig) -> float:
        if config.x == 1:
            raise UserError("x=1 is one; give another")
        if config.x == 2:
            raise ZeroDivisionError("two")
        well.append(config.x)
        return float(config.x)

    GlobalHydra.instance().clear()  # of a test that composed before
    monkeypatch.setattr(sys, "argv", ["app", *arguments, f"hydra.sweep.dir={folder}/jobs", f"hydra.run.dir={folder}"])
    try:
        main()
    except SystemExit as end:
        well.append(-int(str(end.code)))
    return well


def test_jobs_outlive_a_failed_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, monkeypatch, "--multirun", "x=0,1,2,3") == [0, 3, -2]
    shown = capfd.readouterr().err
    assert "error: x=1 is one; give another" in shown
    assert "Traceback" in shown, "a defect of ours keeps its traceback"
    assert "error: 2 jobs of the multirun failed" in shown
    assert json.loads((tmp_path / "jobs" / "2" / "failed.json").read_text()) == {
        "overrides": ["x=2"],
        "error": "ZeroDivisionError: two",
    }
    assert start(tmp_path, monkeypatch, "--multirun", "x=0,3,4,5") == [0, 3, 4, 5], "second attempts count"


def test_a_single_run_ends_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert start(tmp_path, monkeypatch, "x=1") == [-2]
    assert capfd.readouterr().err == "error: x=1 is one; give another\n"


@pytest.mark.slow
def test_optuna_learns_from_the_jobs_that_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra `optuna` is not installed")
    search = ["hydra/sweeper=tpe", "hydra.sweeper.n_trials=12", "x=choice(0,1,2,3)"]
    well = start(tmp_path, monkeypatch, "--multirun", *search)
    assert well[-1] == -2
    assert 0 < len(well) - 1 < 12, "some jobs fail, and the search goes on"
    best = yaml.safe_load((tmp_path / "jobs" / "optimization_results.yaml").read_text())
    assert best == {"name": "optuna", "best_params": {"x": 3}, "best_value": 3.0}


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_several_processes_in_a_multirun_are_refused(
    launcher: str, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = composed("train", tmp_path, *SEVERAL, f"hydra/launcher={launcher}")
    with pytest.raises(UserError, match=r"trainer\.devices=2.*hydra/launcher=slurm"):
        _reject_unsafe_multirun(config)


def test_slurm_starts_the_processes_that_the_trainer_expects(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    from hydra.core.hydra_config import HydraConfig

    config = composed("train", tmp_path, *SEVERAL, "trainer.num_nodes=3", "hydra/launcher=slurm")
    _reject_unsafe_multirun(config)
    launcher = HydraConfig.get().launcher
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (3, 2, 2)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}, None),
        ({"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"}, "num_nodes=1.*nodes=2"),
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "1"}, "devices=2.*ntasks-per-node=4"),
        ({"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, "devices=2.*ntasks-per-node=1"),
        ({"SLURM_NTASKS": "2", "SLURM_NNODES": "1"}, "give --ntasks-per-node"),
    ],
)
def test_a_slurm_job_of_another_size_is_refused(
    environment: dict[str, str], message: str | None, composed: Callable[..., DictConfig], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for key in ("SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    trainer = composed("train", tmp_path, "trainer.devices=2").trainer
    if message is None:
        check_allocation(trainer)
        return
    with pytest.raises(UserError, match=message):
        check_allocation(trainer)
