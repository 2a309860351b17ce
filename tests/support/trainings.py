"""Trainings of a few seconds on street films, as `src.train` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import tests.support.tiny_arseg
import tests.support.tiny_tdnet  # noqa: F401  # registers
from src.cli.config import check_keys
from src.commands.train import train
from tests.support.configs import TINY, compose_config

FILMS = [
    "data.source.films={train:2,val:1}",
    "data.source.length=24",
    "data.source.height=48",
    "data.source.width=64",
    "data.crop=[32,48]",
    "data.batch_size=2",
    "data.workers=0",
    "data.val_distances=[1,3]",
    "data.val_stride=5",
    "video.gop=4",
    "video.preset=veryfast",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
]
ARSEG = [
    "model=arseg",
    "network=tiny",
    "model.phases.constant=null",
    "model.high_epochs=2",
    "model.low_epochs=2",
]
TDNET = [
    "model=tdnet",
    "network=tiny_tdnet",
    "network@model.teacher=pspnet18",
    "model.phases.image=null",
    "model.phases.stills.needs.start_from=null",
    "model.phases.clips=null",
    "model.image_epochs=1",
    "model.still_epochs=2",
]


def run(run_dir: Path, overrides: list[str]) -> None:
    """Train in this process."""
    films = [] if any(override.startswith("data=") for override in overrides) else FILMS
    config = compose_config("train", run_dir, TINY, *films, *overrides)
    check_keys(config)
    train(config)


def last(run_dir: Path, phase: str) -> dict[str, Any]:
    """The last checkpoint of a phase."""
    content: dict[str, Any] = torch.load(run_dir / phase / "checkpoints" / "last.ckpt", weights_only=True)
    return content
