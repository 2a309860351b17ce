"""W&B sweep files: every parameter is a key of ours, and every value composes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from src.utils.config import check_keys

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_a_sweep_composes_as_the_agent_would_start_it(
    path: Path, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    sweep: dict[str, Any] = yaml.safe_load(path.read_text())
    fixed = [part for part in sweep["command"] if "=" in part]
    assert sweep["command"][1:4] == ["${interpreter}", "-m", "src.train"]
    assert sweep["metric"]["name"] == "val/miou"
    for name, choice in sweep["parameters"].items():
        for value in choice["values"]:
            config = composed("train", tmp_path, *fixed, f"{name}={value}")
            check_keys(config)
            assert OmegaConf.select(config, name) == value
