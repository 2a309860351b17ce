"""Trainings of a few seconds on street films, as `src.train` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import tests.support.tiny_arseg
import tests.support.tiny_tdnet  # noqa: F401  # registers
from src.cli.config import check_keys
from src.commands.train import train
from tests.support.configs import FILMS, TINY, compose_config


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
