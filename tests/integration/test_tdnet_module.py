"""Training of TDNet: what a step trains, and the run of all phases up to the table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import DictConfig

import tests.support.tiny_tdnet  # noqa: F401  # registers its network
from src.checkpoints.digest import serialise
from src.checkpoints.load import load_checkpoint
from src.cli.config import plain
from src.commands.evaluate import evaluate
from src.commands.train import complete, train
from src.data.batch import ClipBatch
from src.errors import UserError
from src.instantiate import instantiate
from src.models.registry import build
from src.training.modules.tdnet import TDNetModule
from src.training.networks import network_of
from tests.support import configs
from tests.support.configs import compose_config

CLASSES = [f"class{k}" for k in range(11)]
TINY = [
    "model=tdnet",
    "network=tiny_tdnet",
    "model.phases.image=null",
    "model.phases.stills.needs.start_from=null",
    "data.source.films={train:1,val:1}",
    "data.source.length=10",
    "data.source.height=48",
    "data.source.width=64",
    "data.crop=[32,48]",
    "data.batch_size=2",
    "data.workers=0",
    "data.val_distances=[1]",
    "data.val_stride=3",
    "video.gop=5",
    "video.preset=veryfast",
    "model.image_epochs=1",
    "model.still_epochs=1",
    "model.clip_epochs=1",
]
Compose = Callable[..., DictConfig]


def tiny(composed: Compose, run_dir: Path, *overrides: str, teacher: str = "pspnet18") -> DictConfig:
    return composed("train", run_dir, configs.TINY, *TINY, f"network@model.teacher={teacher}", *overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, street_cache: Path) -> Path:
    """A run of all phases."""
    run = tmp_path_factory.mktemp("tdnet")
    train(tiny(compose_config, run, f"paths.cache={street_cache}"))
    return run


def last(run: Path, phase: str) -> Path:
    return run / phase / "checkpoints" / "last.ckpt"


@pytest.fixture
def module(finished: Path, composed: Compose, tmp_path: Path) -> TDNetModule:
    config = tiny(composed, tmp_path)
    complete(config)
    resolved = plain(config)
    network, spec = network_of(resolved["model"]["phases"]["clips"]["module"], resolved)
    teacher = last(finished, "teacher")
    return instantiate(spec, net=build(**network), class_names=CLASSES, teacher_from=teacher)


def batch(frames: int) -> ClipBatch:
    labels = torch.randint(0, 11, (2, 32, 48))
    motion, valid = torch.zeros(2, 2, 32, 48), torch.ones(2, 32, 48, dtype=torch.bool)
    return ClipBatch(torch.randn(2, frames, 3, 32, 48), labels, motion, valid, torch.tensor([4, 4]), ["a", "b"])


@pytest.mark.parametrize("step", [0, 6])
def test_a_step_trains_one_path_and_what_leads_to_it(
    step: int, module: TDNetModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TDNetModule, "global_step", step)
    monkeypatch.setattr(TDNetModule, "log_dict", lambda *_, **__: None)
    module.training_step(batch(4), 0).backward()
    path = step % 4
    for i, other in enumerate(module.net.paths):
        assert other.backbone[0].weight.grad.any()
        assert (other.head.weight.grad is not None) == (i == path)
    read = [name for name, phi in module.net.projections.items() if phi.linear.weight.grad is not None]
    assert sorted(read) == sorted(f"{path}_{i}" for i in range(4) if i != path)
    assert all(p.grad is None for p in module.teacher.parameters())


def test_a_picture_stands_for_a_clip_of_itself(module: TDNetModule) -> None:
    still = batch(1)
    with torch.no_grad():
        module.net.eval()
        shown = module.predict_logits(still, 2)
        clip = ClipBatch(still.frames.expand(-1, 4, -1, -1, -1), *list(vars(still).values())[1:])
        assert torch.equal(shown, module.predict_logits(clip, 2))
        fused = module.net(clip.frames, 2).fused
    assert torch.equal(shown[..., 0, 0], fused[..., 0, 0]), "corners are aligned: validation gives the fused output"


def test_weight_decay_spares_biases_and_norms(module: TDNetModule) -> None:
    module._trainer = SimpleNamespace(estimated_stepping_batches=10)
    decayed, spared = module.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (1e-4, 0.0)
    assert len(decayed["params"]) + len(spared["params"]) == len(list(module.net.parameters()))
    norms = {id(p.norm.weight) for p in module.net.paths}
    assert norms < {id(p) for p in spared["params"]}


def test_checkpoints_leave_the_teacher_out(finished: Path) -> None:
    for phase in ("stills", "clips"):
        assert json.loads((finished / phase / "done.json").read_text())["epochs"] == 1
        state = torch.load(last(finished, phase), weights_only=True)["state_dict"]
        assert not [key for key in state if key.startswith("teacher.")]
    assert load_checkpoint(last(finished, "clips")).network.num_paths == 4


def test_a_given_teacher_and_a_resumed_run(
    finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    given = [f"paths.cache={street_cache}", f"model.teacher_checkpoint={last(finished, 'teacher')}"]
    train(tiny(composed, tmp_path, *given, "model.phases.clips=null"))
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {"stills", ".hydra"}
    (tmp_path / "stills" / "done.json").unlink()
    resumed = ["model.phases.clips=null", "model.still_epochs=2", "ckpt_path=last"]
    train(tiny(composed, tmp_path, *given, *resumed))
    assert json.loads((tmp_path / "stills" / "done.json").read_text())["epochs"] == 2


def test_the_teacher_of_the_paper_takes_one_step_and_teaches_one(
    composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    """PSPNet-101, the default; nothing is trained but two batches."""
    short = ["debug=fdr", "trainer.detect_anomaly=false", "model.phases.clips=null"]
    train(tiny(composed, tmp_path, f"paths.cache={street_cache}", *short, teacher="pspnet101"))
    assert load_checkpoint(last(tmp_path, "teacher")).network.net.backbone.depth == 101
    assert [torch.load(last(tmp_path, p), weights_only=True)["global_step"] for p in ("teacher", "stills")] == [1, 1]
    shutil.rmtree(tmp_path / "teacher")  # a gigabyte, which pytest would keep


def test_the_table_tells_the_fused_output_from_that_of_the_paths(
    finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    given = [f"checkpoint={last(finished, 'clips')}", f"baseline={last(finished, 'teacher')}"]
    rows = evaluate(composed("eval", tmp_path, *given, f"paths.cache={street_cache}"), tmp_path)
    assert [row["method"] for row in rows] == ["constant", "own path", "TDNet"]
    teacher, own, fused = rows
    assert own["miou_by_distance"] != fused["miou_by_distance"]
    assert own["gmacs"]["amortised"] < fused["gmacs"]["amortised"] < teacher["gmacs"]["amortised"]


def test_checkpoints_that_do_not_fit_are_refused(
    finished: Path, composed: Compose, tmp_path: Path, street_cache: Path
) -> None:
    cache, student, teacher = f"paths.cache={street_cache}", last(finished, "clips"), last(finished, "teacher")
    with pytest.raises(UserError, match="is a TDNet; give the checkpoint of a PSPNet"):
        train(tiny(composed, tmp_path, cache, f"model.teacher_checkpoint={student}"))
    given = [cache, f"model.teacher_checkpoint={teacher}"]
    with pytest.raises(UserError, match="TinyPath cannot start from a PSPNet"):
        train(tiny(composed, tmp_path, *given, "model.phases.stills.needs.start_from=teacher"))
    with pytest.raises(UserError, match=r"needs\.start_from=image, but that phase is left out"):
        train(tiny(composed, tmp_path, *given, "model.phases.stills.needs.start_from=image"))
    content = torch.load(teacher, weights_only=True)
    for key, value, message in (
        ("normalisation", {"mean": [0.1] * 3, "std": [0.2] * 3}, "data.source.mean"),
        ("classes", {"names": ["road"], "palette": [[0, 0, 0]]}, "other classes"),
    ):
        changed = {**content, "metadata": {**content["metadata"], key: value}}
        (tmp_path / "other.ckpt").write_bytes(serialise(changed).getvalue())
        with pytest.raises(UserError, match=message):
            train(tiny(composed, tmp_path, cache, f"model.teacher_checkpoint={tmp_path / 'other.ckpt'}"))
