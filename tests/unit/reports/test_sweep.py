"""The table of a sweep: groups, means, spread, and what failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.errors import UserError
from src.reports.sweep import failures, read_trials, sweep_table


def leave(folder: Path, name: str, overrides: list[str], low: float | None, error: str | None = None) -> None:
    """What `src.train` leaves of a run with a given high branch."""
    run = folder / name
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    phases: dict[str, Any] = {"high": {"given": "high.ckpt"}, "low": {}, "constant": None}
    (run / "config_resolved.yaml").write_text(yaml.safe_dump({"model": {"phases": phases}}))
    if low is not None:
        (run / "low").mkdir()
        (run / "low" / "done.json").write_text(json.dumps({"epochs": 2, "val/miou": low}))
    if error is not None:
        (run / "failed.json").write_text(json.dumps({"overrides": overrides, "error": error}))


def test_settings_are_grouped_over_seeds(tmp_path: Path) -> None:
    for number, (scale, seed, low) in enumerate([(0.5, 0, 0.60), (0.5, 1, 0.62), (0.5, 2, 0.67), (0.7, 0, 0.7)]):
        leave(tmp_path, str(number), ["experiment=a", f"model.lr_scale={scale}", f"seed={seed}"], low)
    leave(tmp_path, "4", ["experiment=a", "model.lr_scale=0.7", "seed=1", "ckpt_path=last"], None)
    leave(tmp_path, "10", ["experiment=a", "model.lr_scale=7", "seed=0"], None, "too large")
    trials = read_trials(tmp_path, "val/miou")
    assert list(sweep_table(trials)) == [
        ["model.lr_scale", "trials", "low"],
        ["0.5", "3", "0.6300 ± 0.0361"],
        ["0.7", "1", "0.7000"],
        ["7", "0", "-"],
    ]
    assert failures(trials) == [
        "failed: 4 (model.lr_scale=0.7): running, or killed",
        "failed: 10 (model.lr_scale=7): too large",
    ]


def test_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no subfolders that are runs"):
        read_trials(tmp_path, "val/miou")
    leave(tmp_path, "0", [], 0.5)
    with pytest.raises(UserError, match="choose one of epochs, val/miou"):
        read_trials(tmp_path, "val/mious")
