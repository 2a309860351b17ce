"""Every experiment and debug preset composes, and every key of it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.cli.config import check_keys
from tests.support.configs import CONF, Compose

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_compose_and_every_key_is_read(name: str, composed: Compose, tmp_path: Path) -> None:
    check_keys(composed("train", tmp_path, f"experiment={name}"))
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert f"experiment={name}" in text, "an experiment file names its command"


@pytest.mark.parametrize("name", ["fdr", "limit", "overfit", "profiler"])
def test_debug_presets_compose(name: str, composed: Compose, tmp_path: Path) -> None:
    check_keys(composed("train", tmp_path, "experiment=arseg_street", f"debug={name}"))
