"""Every trial of every study composes, builds and trains a step, and docs/tables.md lists every study."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from src.cli.config import check_keys
from src.commands.benchmark import build
from src.commands.study import count_trials
from src.data.batch import ClipBatch
from src.instantiate import instantiate
from src.models import registry
from src.models.pspnet.net import PSPNet
from src.models.video import SingleFrame
from src.reports.study import read_study
from src.training.modules.base import TrainingModule
from src.training.networks import network_of
from tests.support.configs import CONF, ROOT, Compose

CLASSES = {"networks_camvid": 11}  # whose losses weight them; of the others as many as Cityscapes has
HEIGHT, WIDTH = 32, 64
STUDIES = {path.stem: read_study(path) for path in sorted((CONF / "study").glob("*.yaml"))}
STEPPED: set[str] = set()  # phases of all studies, as many are the same


@pytest.fixture
def without_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks keep their random weights, and a small one is the teacher."""
    teacher = SimpleNamespace(network=SingleFrame(PSPNet(19, dilation="multigrid")))
    monkeypatch.setattr("src.training.modules.tdnet.load_checkpoint", lambda _: teacher)
    monkeypatch.setattr("src.training.modules.tdnet._start", lambda *_: None)
    for method in ("arseg", "image"):
        monkeypatch.setattr(f"src.training.modules.{method}.load_net", lambda *_: None)
    monkeypatch.setattr(TrainingModule, "log_dict", lambda *_, **__: None)
    monkeypatch.setattr(TrainingModule, "global_step", 0)
    monkeypatch.setattr(TrainingModule, "current_epoch", 1000)  # past the stages of a recipe


@pytest.mark.train
@pytest.mark.usefixtures("without_checkpoints")
@pytest.mark.parametrize("study", STUDIES)
def test_every_trial_composes_and_builds_and_trains_a_step(study: str, composed: Compose, tmp_path: Path) -> None:
    """Overrides are keys that something reads, and none is lost to another file; equal phases are stepped once."""
    command = STUDIES[study].command
    classes = CLASSES.get(study, 19)
    given = {"train": ["data.root=none", f"num_classes={classes}"], "eval": ["checkpoint=NET.ckpt"], "benchmark": []}[
        command
    ]
    for trial in STUDIES[study].trials:
        config = composed(command, tmp_path, f"study={study}", f"trial={trial.name}", *given)
        assert (config.study, config.trial) == (study, trial.name)
        if trial is STUDIES[study].trials[0]:
            check_keys(config)
        for override in trial.overrides:
            key, value = override.split("=", 1)
            if not (CONF / key.partition("@")[0]).is_dir():
                found = OmegaConf.select(config, key, default="missing")
                found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
                assert json.dumps(found).replace('"', "").replace(" ", "") == value
        if command == "benchmark":
            assert build(config, torch.device("meta")).num_classes
            assert list(trial.published) == ["network"]
        if command == "train":
            _train_a_step(config, list(trial.published), trial.name)


def _train_a_step(config: DictConfig, phases: list[str], trial: str) -> None:
    model: Any = OmegaConf.to_container(config.model, resolve=True)
    metric = OmegaConf.to_container(config.metric, resolve=True)
    for name in phases:
        spec = model["phases"][name]
        known = json.dumps([spec["module"], spec.get("needs"), spec["data"]])
        if known in STEPPED:
            continue
        STEPPED.add(known)
        classes = int(config.num_classes)
        resolved = {"model": model, "video": {"gop": int(config.video.gop)}, "metric": metric}
        module = _module(spec, resolved, classes)
        loss = module.train().training_step(_batch(spec["data"], classes), 0)
        loss.backward()
        assert loss.isfinite(), trial
        assert any(p.grad is not None and p.grad.any() for p in module.net.parameters()), trial


def _module(spec: dict[str, Any], resolved: dict[str, Any], classes: int) -> Any:
    network, parts = network_of(spec["module"], resolved)
    needed = {argument: Path("given.ckpt") for argument, earlier in (spec.get("needs") or {}).items() if earlier}
    torch.manual_seed(0)
    net = registry.build(network["name"], registry.without_initial_weights(network["arguments"]))
    return instantiate(parts, net=net, class_names=[f"class{k}" for k in range(classes)], **needed)


def _batch(data: dict[str, Any], classes: int) -> ClipBatch:
    frames = {"pair": 2, "window": int(data.get("window") or 1)}.get(data.get("view", "still"), 1)
    labels = torch.randint(0, classes, (2, HEIGHT, WIDTH))
    motion, valid = torch.zeros(2, 2, HEIGHT, WIDTH), torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
    images = torch.randn(2, frames, 3, HEIGHT, WIDTH)
    return ClipBatch(images, labels, motion, valid, torch.tensor([4, 4]), ["a", "b"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("arseg_lr_scale", 0.01),  # the paper's count leaves a little of CReFF to the reading
        ("arseg_fst", 0.01),
        ("arseg_creff", 0.04),
        ("dfanet_aggregation", 0.2),  # the paper leaves widths open
    ],
)
def test_multiply_adds_agree_with_the_published_ones(
    name: str, tolerance: float, composed: Compose, tmp_path: Path
) -> None:
    composed("report", tmp_path, f"study={name}")
    counted = count_trials(STUDIES[name], [])
    for trial in STUDIES[name].trials:
        for result, figures in trial.published.items():
            if "gmacs" in figures and trial.name != "global":  # whose published count leaves products out
                assert counted[trial.name, result] == pytest.approx(figures["gmacs"], rel=tolerance), trial.name


def test_the_document_lists_every_study_by_its_command_and_title() -> None:
    rows = (ROOT / "docs" / "tables.md").read_text().splitlines()
    for study in STUDIES.values():
        row = f"| {study.title} | `python -m src.{study.command} --multirun study={study.name}"
        assert len([line for line in rows if line.startswith((f"{row} ", f"{row}`"))]) == 1, study.title
