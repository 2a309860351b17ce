"""A study from its multirun to its table, on videos of a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_train import TINY
from tests.support.configs import ROOT


def run_command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"src.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


@pytest.mark.subprocess
def test_a_study_runs_from_its_multirun_to_its_table(tmp_path: Path, street_cache: Path) -> None:
    """Two trials of figure 4a, with two seeds, on another recipe than the paper's."""
    sweep = tmp_path / "sweep"
    given = ["study=arseg_lr_scale", "trial=scale_0.3,scale_0.5", "seed=0,1"]
    small = [part for part in TINY if not part.startswith("model.low_epochs")]
    where = [f"paths.cache={street_cache}", f"hydra.sweep.dir={sweep}", "model.low_epochs=1"]
    done = run_command("train", "--multirun", *given, *small, *where)
    assert done.returncode == 0, done.stderr
    table = run_command("report", "study=arseg_lr_scale", f"runs={sweep}").stdout.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("| scale")]
    assert [row[:3] for row in rows[:5]] == [
        ["scale_0.3", "low", "2"],
        ["scale_0.3", "constant", "2"],
        ["scale_0.4", "low", "0"],
        ["scale_0.4", "constant", "0"],
        ["scale_0.5", "low", "2"],
    ]
    low, constant, missing = rows[0], rows[1], rows[2]
    assert low[4] == "69.00"
    assert missing[3] == "-"
    assert float(low[3].split()[0]) >= 0
    assert float(constant[5]) < float(low[5]) < float(rows[4][5]) < float(missing[5]), "of the network that was trained"
