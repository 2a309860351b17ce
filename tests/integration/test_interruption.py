"""Trainings that are killed, and checkpoints that cannot be written or read."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
import pytest
import torch

from scripts.campaigns.training_kills import TrainingKills
from src import interruption
from src.errors import UserError
from src.training.callbacks.checkpoint import LAST
from src.training.slurm import SaveAndStop, TimeUp
from tests.support import configs, trainings
from tests.support.wandb_server import offline_history, offline_records


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> TrainingKills:
    return TrainingKills(tmp_path_factory.mktemp("kills"))


@pytest.mark.train
@pytest.mark.parametrize("place", ["high:7:0", "low:4:0"], ids=["after a checkpoint", "at a checkpoint"])
def test_a_killed_training_ends_like_an_undisturbed_one(campaign: TrainingKills, place: str) -> None:
    """Random moments: `python -m scripts.campaigns training-kills`."""
    kill = campaign.kill_at("arseg", place)
    assert not kill.wrong, kill


def test_a_training_whose_disk_is_full_stops_and_goes_on(tmp_path: Path, street_cache: Path) -> None:
    overrides = [*configs.ARSEG, f"paths.cache={street_cache}", "model.phases.low=null"]
    run = tmp_path / "run"
    trainings.run(run, [*overrides, "model.high_epochs=1"])
    (run / "high" / "done.json").unlink()
    torn = run / "high" / "checkpoints" / f".{LAST}.unfinished"
    torn.symlink_to("/dev/full")
    with pytest.raises(UserError, match="No space left"):
        trainings.run(run, [*overrides, "ckpt_path=last"])
    torn.unlink(missing_ok=True)
    trainings.run(run, [*overrides, "ckpt_path=last"])
    trainings.run(tmp_path / "other", overrides)
    ours, theirs = (trainings.last(folder, "high")["state_dict"] for folder in (run, tmp_path / "other"))
    assert ours.keys() == theirs.keys()


def content(run: Path) -> dict[Path, bytes]:
    """All files of a run directory."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        ([], "already holds a run"),
        (["ckpt_path=last", "seed=1"], "seed=0, not 1"),
        (["ckpt_path=last", "model.optimizer.lr=0.5"], "model.optimizer.lr=0.001, not 0.5"),
        (["ckpt_path=last", "video.gop=6"], "video.gop=4, not 6"),
        (["ckpt_path=last", "model.high_epochs=1"], "model.high_epochs=2, not 1"),
    ],
)
def test_a_refused_command_leaves_the_run_as_it_is(
    overrides: list[str], answer: str, undisturbed: Path, street_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = content(undisturbed)
    caplog.set_level("INFO", "src")  # what Hydra appends to train.log
    with pytest.raises(UserError, match=answer):
        trainings.run(undisturbed, [*configs.ARSEG, f"paths.cache={street_cache}", "model.phases.low=null", *overrides])
    assert content(undisturbed) == before
    assert "precision" not in caplog.text


def test_finished_phases_get_more_epochs_and_lost_checkpoints_are_made_again(
    undisturbed: Path, tmp_path: Path, street_cache: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    began = (run / "config_resolved.yaml").read_text(), (run / "provenance.json").read_text()
    overrides = [*configs.ARSEG, f"paths.cache={street_cache}", "ckpt_path=last"]
    trainings.run(run, [*overrides, "model.high_epochs=3", "model.phases.low=null", "data.workers=1"])
    assert json.loads((run / "high" / "done.json").read_text())["epochs"] == 3
    last = run / "high" / "checkpoints" / "last.ckpt"
    whole = trainings.last(run, "high")["state_dict"]
    shutil.copy(undisturbed / "high" / "checkpoints" / "last.ckpt", last.with_name("previous.ckpt"))
    last.write_bytes(last.read_bytes()[:999])
    (run / "high" / "done.json").write_text('{"epo')
    trainings.run(run, [*overrides, "model.high_epochs=3"])  # the next phase needs the lost one
    again = trainings.last(run, "high")["state_dict"]
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    assert (run / "low" / "done.json").exists()
    with pytest.raises(UserError, match=r"phase low has started from it; give model\.high_epochs=3"):
        trainings.run(run, [*overrides, "model.high_epochs=4"])
    assert ((run / "config_resolved.yaml").read_text(), (run / "provenance.json").read_text()) == began
    resumes = [json.loads(line)["changes"] for line in (run / "resumes.jsonl").read_text().splitlines()]
    assert [sorted(key for key in changes if "phases" not in key) for changes in resumes] == [
        ["data.module.workers", "data.workers", "model.high_epochs"],
        ["data.module.workers", "data.workers"],
    ]


class Poison(L.Callback):
    """Makes weights NaN at a batch of the second epoch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.current_epoch == 1 and _[-1] == self.batch:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("nan"))


@pytest.mark.parametrize(("batch", "found"), [(2, "the loss is from step 9 on"), (5, "weights at step 12 are")])
def test_a_training_stops_where_numbers_are_not_finite(
    batch: int, found: str, tmp_path: Path, street_cache: Path
) -> None:
    poison = f"+callbacks.poison={{_target_: tests.integration.test_interruption.Poison, batch: {batch}}}"
    overrides = [*configs.ARSEG, f"paths.cache={street_cache}", "model.phases.low=null", poison]
    with pytest.raises(UserError, match=rf"phase high: {found} not finite; .*last\.ckpt'.*lower model\.optimizer\.lr"):
        trainings.run(tmp_path, [*overrides, "callbacks.best=null"])
    kept = trainings.last(tmp_path, "high")
    assert kept["global_step"] == 6
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
    assert not (tmp_path / "high" / "done.json").exists()


def test_a_learning_rate_that_is_far_too_high_leaves_no_checkpoint(tmp_path: Path, street_cache: Path) -> None:
    overrides = [*configs.ARSEG, f"paths.cache={street_cache}", "model.optimizer.lr=1e10"]
    with pytest.raises(UserError, match=r"not finite; there is no checkpoint before that"):
        trainings.run(tmp_path, overrides)
    assert not list(tmp_path.rglob("*.ckpt"))


class TimeLimit(L.Callback):
    """Stands for SLURM's announcement."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, index: int) -> None:
        SaveAndStop.announced = trainer.current_epoch == 0 and index == self.batch


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, street_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    trainings.run(folder, [*configs.ARSEG, f"paths.cache={street_cache}", "model.phases.low=null"])
    return folder


@pytest.mark.parametrize("batch", [2, 5], ids=["within an epoch", "at its end"])
def test_a_requeued_training_ends_like_an_undisturbed_one(
    batch: int, undisturbed: Path, tmp_path: Path, street_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*configs.ARSEG, f"paths.cache={street_cache}", "model.phases.low=null"]
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(SaveAndStop, "announced", False)
    limit = f"+callbacks.limit={{_target_: tests.integration.test_interruption.TimeLimit, batch: {batch}}}"
    with mock.patch("src.training.slurm.subprocess") as shell, pytest.raises(TimeUp):
        trainings.run(tmp_path, [*overrides, limit])
    shell.run.assert_called_once_with(["scontrol", "requeue", "7"], check=True)
    monkeypatch.setattr(SaveAndStop, "announced", False)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    trainings.run(tmp_path, overrides)
    ours, theirs = (trainings.last(folder, "high")["state_dict"] for folder in (tmp_path, undisturbed))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    rows = [(folder / "high" / "metrics.csv").read_text().splitlines() for folder in (tmp_path, undisturbed)]
    assert rows[0] == rows[1]
    assert (tmp_path / "high" / "done.json").read_text() == (undisturbed / "high" / "done.json").read_text()


class Kill(L.Callback):
    """Sends this process SIGTERM within a step of the first epoch."""

    def on_before_zero_grad(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose signals are watched, as by an entry point."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    monkeypatch.setattr(interruption, "_Watch", type("_Watch", (interruption._Watch,), {}))
    interruption.watch_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_training_saves_its_step_at_sigterm(
    watched: None, undisturbed: Path, tmp_path: Path, street_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*configs.ARSEG, f"paths.cache={street_cache}", "model.phases.low=null"]
    with pytest.raises(interruption.Interruption) as ended:
        trainings.run(tmp_path, [*overrides, "+callbacks.kill._target_=tests.integration.test_interruption.Kill"])
    assert ended.value.code == 143
    resume = f"resume with ckpt_path=last hydra.run.dir={tmp_path}"
    assert ended.value.__notes__ == ["step 3 of phase 'high' is saved", resume]
    monkeypatch.setattr(interruption._Watch, "received", None)
    trainings.run(tmp_path, [*overrides, "ckpt_path=last"])
    ours, theirs = (trainings.last(folder, "high")["state_dict"] for folder in (tmp_path, undisturbed))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_sweep_goes_on_with_trials_that_had_not_begun(tmp_path: Path, street_cache: Path) -> None:
    short = [*configs.ARSEG, f"paths.cache={street_cache}", "model.phases.low=null", "model.high_epochs=1"]
    trainings.run(tmp_path / "sweep" / "0", short)
    resumed = [*short, "ckpt_path=last", "hydra.mode=MULTIRUN"]
    for trial in ("0", "1"):
        trainings.run(tmp_path / "sweep" / trial, [*resumed, f"hydra.sweep.dir={tmp_path}/sweep"])
        assert (tmp_path / "sweep" / trial / "high" / "done.json").exists()
    with pytest.raises(UserError, match=r"misspelt/1' holds no last\.ckpt.*hydra\.sweep\.dir=SWEEP"):
        trainings.run(tmp_path / "misspelt" / "1", [*resumed, f"hydra.sweep.dir={tmp_path}/misspelt"])


def test_a_resumed_training_goes_on_with_its_run_of_wandb(
    tmp_path: Path, street_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    wandb = ["logger=wandb", "logger.wandb.offline=true", f"paths.cache={street_cache}", "callbacks.pictures.count=0"]
    trainings.run(tmp_path, [*configs.ARSEG, *wandb, "model.high_epochs=1", "model.phases.low=null"])
    (tmp_path / "high" / "done.json").unlink()  # as if the time had been up after one of two epochs
    trainings.run(tmp_path, [*configs.ARSEG, *wandb, "ckpt_path=last"])
    before, after = sorted(tmp_path.glob("*/wandb/offline-run-*/*.wandb"), key=os.path.getmtime)
    [run] = {record.run.run_id for log in (before, after) for record in offline_records(log) if record.run.run_id}
    assert run == (tmp_path / "wandb_id").read_text()
    steps = [[r["trainer/global_step"] for r in offline_history(log) if "train/loss" in r] for log in (before, after)]
    assert steps == [[*range(6)], [*range(6, 12), *range(12)]], "the second phase counts anew"
