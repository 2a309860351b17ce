"""Training as a user starts it: experiments compose, typos are refused, runs resume bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from omegaconf import DictConfig

from src.checkpoints.load import load_checkpoint
from src.commands.evaluate import evaluate
from src.commands.train import train
from src.errors import UserError
from src.inference.player_record import label_maps, read_record
from src.models.arseg.net import ARSeg
from tests.support.configs import compose_config

TINY = [
    "experiment=arseg_street",
    "data.source.films={train:1,val:1}",
    "data.source.length=9",
    "data.source.height=48",
    "data.source.width=64",
    "data.crop=[32,48]",
    "data.batch_size=2",
    "data.workers=0",
    "data.val_distances=[1,3]",
    "data.val_stride=3",
    "video.gop=4",
    "video.preset=veryfast",
    "network.arguments.encoder=tf_efficientnet_lite0",
    "model.high_epochs=1",
    "model.phases.high.trainer.check_val_every_n_epoch=1",
    "model.phases.low.trainer.check_val_every_n_epoch=1",
    "model.phases.constant.trainer.check_val_every_n_epoch=1",
    "model.low_epochs=2",
]
Compose = Callable[..., DictConfig]


def tiny(composed: Compose, run_dir: Path, cache: Path, *overrides: str) -> DictConfig:
    return composed("train", run_dir, *TINY, f"paths.cache={cache}", *overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, street_cache: Path) -> Path:
    """An uninterrupted run of all phases."""
    run = tmp_path_factory.mktemp("finished")
    train(tiny(compose_config, run, street_cache))
    return run


@pytest.mark.parametrize("name", ["fdr", "overfit"])
def test_debug_presets_run_all_phases(name: str, composed: Compose, tmp_path: Path, street_cache: Path) -> None:
    train(tiny(composed, tmp_path, street_cache, f"debug={name}", "trainer.detect_anomaly=false"))
    assert json.loads((tmp_path / "constant" / "done.json").read_text())["epochs"] == (1 if name == "fdr" else 2)


def test_the_defaults_train_on_the_embedded_films(composed: Compose, tmp_path: Path, street_cache: Path) -> None:
    films = [part for part in TINY if part.startswith("data.") or part.startswith("video.")]
    train(composed("train", tmp_path, *films, f"paths.cache={street_cache}", "model.epochs=1", "debug=limit"))
    assert (tmp_path / "image" / "done.json").exists()


def test_hardware_that_is_fast_in_another_precision_is_no_reason_to_change_it(
    finished: Path, composed: Compose, street_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = yaml.safe_load((finished / "config_resolved.yaml").read_text())["trainer"]["precision"]
    other = "16-mixed" if began == "32-true" else "32-true"
    monkeypatch.setattr("src.training.precision._fastest", lambda _: other)
    given = ["trainer.precision=auto", "ckpt_path=last"]
    with pytest.raises(UserError, match=f"trainer.precision={began}, not {other}; give trainer.precision={began}"):
        train(tiny(composed, finished, street_cache, *given))


@pytest.mark.parametrize("override", ["video.motion=none", "model.low_start=hihg"])
def test_what_cannot_be_trained_is_refused(
    override: str, finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    given = f"model.high_checkpoint={finished / 'high' / 'checkpoints' / 'last.ckpt'}"
    with pytest.raises(UserError, match=override.split("=")[0].split(".")[1]):
        train(tiny(composed, tmp_path, street_cache, given, override))


def test_a_run_leaves_what_repeats_it(finished: Path) -> None:
    for phase in ("high", "low", "constant"):
        folder = finished / phase
        assert json.loads((folder / "done.json").read_text())["epochs"] == (1 if phase == "high" else 2)
        assert (folder / "metrics.csv").exists()
        kept = {"best.ckpt", "last.ckpt"} if phase == "high" else {"best.ckpt", "last.ckpt", "previous.ckpt"}
        assert {p.name for p in (folder / "checkpoints").iterdir()} == kept
    assert (finished / "config_resolved.yaml").exists()
    assert {"git", "command", "packages"} <= set(json.loads((finished / "provenance.json").read_text()))


def test_checkpoints_need_nothing_but_the_file(finished: Path) -> None:
    loaded = load_checkpoint(finished / "low" / "checkpoints" / "last.ckpt")
    assert isinstance(loaded.network, ARSeg)
    assert loaded.network.scale == 0.5
    assert len(loaded.classes) == 11
    high = load_checkpoint(finished / "high" / "checkpoints" / "last.ckpt")
    assert high.network.scale == 1.0
    picture = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(loaded.network.key(picture)[0], high.network.net(picture)), (
            "phase 2 must not change the high branch"
        )
    assert load_checkpoint(finished / "constant" / "checkpoints" / "last.ckpt").network.scale == 0.5


class StopAt(L.Callback):
    """Stands for a power cut at the start of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch and trainer.max_epochs == 2:
            raise RuntimeError("power cut")


def weights(run: Path, phase: str) -> dict[str, Any]:
    path = run / phase / "checkpoints" / "last.ckpt"
    content: dict[str, Any] = torch.load(path, weights_only=True)["state_dict"]
    return content


def test_a_resumed_run_equals_an_uninterrupted_one(
    finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    stop = "+callbacks.stop={_target_: tests.integration.test_train.StopAt, epoch: 1}"
    with pytest.raises(RuntimeError, match="power cut"):
        train(tiny(composed, tmp_path, street_cache, stop))
    assert (tmp_path / "high" / "done.json").exists()
    assert not (tmp_path / "low" / "done.json").exists()
    with pytest.raises(UserError, match="ckpt_path=last"):
        train(tiny(composed, tmp_path, street_cache))
    train(tiny(composed, tmp_path, street_cache, "ckpt_path=last"))
    for phase in ("high", "low", "constant"):
        ours, theirs = weights(tmp_path, phase), weights(finished, phase)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), phase


def test_last_looks_nowhere_else(composed: Compose, tmp_path: Path, street_cache: Path) -> None:
    with pytest.raises(UserError, match=r"holds no last\.ckpt"):
        train(tiny(composed, tmp_path, street_cache, "ckpt_path=last"))


def test_a_given_high_branch_skips_phase_1(
    finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    given = finished / "high" / "checkpoints" / "last.ckpt"
    train(tiny(composed, tmp_path, street_cache, f"model.high_checkpoint={given}", "model.phases.constant=null"))
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {".hydra", "low"}
    ours, theirs = weights(tmp_path, "low"), weights(finished, "low")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(("logger", "files"), [("wandb", "wandb/offline-run-*"), ("tensorboard", "events.out.*")])
def test_loggers_work_offline(
    logger: str, files: str, finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    given = finished / "high" / "checkpoints" / "last.ckpt"
    choice = [f"logger={logger}", f"model.high_checkpoint={given}", "model.phases.constant=null", "model.low_epochs=1"]
    choice += ["logger.wandb.offline=true"] if logger == "wandb" else []
    train(tiny(composed, tmp_path, street_cache, *choice))
    assert list((tmp_path / "low").glob(files))
    assert (tmp_path / "low" / "metrics.csv").exists()


def test_wrong_class_count_is_refused(composed: Compose, tmp_path: Path, street_cache: Path) -> None:
    with pytest.raises(UserError, match="num_classes=7"):
        train(tiny(composed, tmp_path, street_cache, "num_classes=7"))


def test_evaluation_compares_the_rows_on_the_same_frames(
    finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    checkpoints = [
        f"{k}={finished}/{p}/checkpoints/last.ckpt" for k, p in (("checkpoint", "low"), ("baseline", "constant"))
    ]
    results = evaluate(composed("eval", tmp_path, *checkpoints, f"paths.cache={street_cache}", "player=6"), tmp_path)
    assert [(r["method"], r["scale"]) for r in results] == [
        ("constant", 1.0), ("constant", 0.5), ("warp only", 0.0), ("AR", 0.5),
    ]  # fmt: skip
    assert json.loads((tmp_path / "metrics.json").read_text()) == results
    one, half, warped, adaptive = results
    assert len(adaptive["miou_by_distance"]) == 4
    assert adaptive["miou_by_distance"][0] == warped["miou_by_distance"][0] == one["miou_by_distance"][0]
    assert adaptive["frames"] == 4 * (9 - 3)
    assert one["gmacs"]["key"] == one["gmacs"]["amortised"] == adaptive["gmacs"]["key"]
    assert warped["gmacs"]["nonkey"] < half["gmacs"]["key"] < adaptive["gmacs"]["nonkey"]
    assert adaptive["gmacs"]["amortised"] < 0.5 * one["gmacs"]["key"]
    pairs = [[pair["miou"] for pair in row["bootstrap"]["differences"]] for row in results]
    assert pairs[3] == pytest.approx([adaptive["miou"] - other["miou"] for other in (one, half, warped)], abs=1e-12)
    assert {row["bootstrap"]["blocks"] for row in results} == {2}, "6 scored frames of a video in blocks of a GOP of 4"
    about, frames = read_record(tmp_path / "player.zip")
    assert (about["systems"], about["reference"]) == (["constant 1x", "constant 0.5x", "warp only", "AR 0.5x"], 0)
    assert [frame.about["key"] for frame in frames] == [True, False, False, False, True, False]
    _, full, _, warp, fused = label_maps(about, frames[4])
    assert np.array_equal(full, fused)
    assert np.array_equal(full, warp)
    without = evaluate(
        composed("eval", tmp_path, checkpoints[0], f"paths.cache={street_cache}", "bootstrap.resamples=0"), tmp_path
    )
    assert "bootstrap" not in without[0]
    assert [r["method"] for r in without] == ["constant", "warp only", "AR"]


def test_a_baseline_that_does_not_fit_is_refused(finished: Path, composed: Compose, tmp_path: Path) -> None:
    low = finished / "low" / "checkpoints" / "last.ckpt"
    for other, message in (("high", "scale 1.0"), ("low", "single-frame")):
        baseline = finished / other / "checkpoints" / "last.ckpt"
        with pytest.raises(UserError, match=message):
            evaluate(composed("eval", tmp_path, f"checkpoint={low}", f"baseline={baseline}"), tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", b"\x80\x02X\x01\x00\x00\x00\xff."])
def test_a_wrong_checkpoint_is_one_clear_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "wrong.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"wrong\.ckpt"):
        load_checkpoint(path)
