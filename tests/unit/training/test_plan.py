"""Phases of a run directory that are trained, and those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from src.errors import UserError
from src.training.plan import plan_phases
from src.training.resume import CONFIG
from src.training.summary import DONE


def config(epochs: int) -> dict[str, Any]:
    phases = {"image": {"module": {}, "trainer": {"max_epochs": epochs}}}
    return {"ckpt_path": "last", "trainer": {}, "limits": {}, "model": {"phases": phases}}


def test_a_finished_phase_without_checkpoints_is_not_trained_longer(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / DONE).write_text("{}")
    (tmp_path / CONFIG).write_text(yaml.safe_dump(config(2)))
    assert plan_phases(config(2), {}, {}, tmp_path).pending == []
    with pytest.raises(UserError, match=r"its checkpoints are gone; give model\.phases\.image\.trainer\.max_epochs=2"):
        plan_phases(config(3), {}, {}, tmp_path)
