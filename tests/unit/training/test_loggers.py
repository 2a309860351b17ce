"""Metrics as rows of a CSV file."""

from __future__ import annotations

from pathlib import Path

from src.training.loggers import ResumableCSVLogger


def test_rows_of_steps_that_are_done_again_are_left_out(tmp_path: Path) -> None:
    first = ResumableCSVLogger(str(tmp_path))
    for step in range(4):
        first.log_metrics({"train/loss": 0.1 * step, "epoch": 0}, step)
    before = (tmp_path / "metrics.csv").read_text().splitlines()
    second = ResumableCSVLogger(str(tmp_path))
    second.resume_at(2)
    second.log_metrics({"train/loss": 7.0, "epoch": 0}, 2)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [*before[:3], "0,2,7.0"]
    assert not (tmp_path / "metrics.before.csv").exists()
