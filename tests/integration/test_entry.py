"""How commands end on bad input, seen from the shell."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.configs import ROOT

pytestmark = pytest.mark.subprocess


@pytest.mark.parametrize("command", [("convert", "name=x", "source=y", "output=z"), ("train",)])
def test_a_run_directory_that_cannot_be_made_is_one_line(command, tmp_path):
    (tmp_path / "file").touch()
    run_dir = tmp_path / "file" / "run"
    done = subprocess.run(
        [sys.executable, "-m", f"src.{command[0]}", *command[1:], f"hydra.run.dir={run_dir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == f"error: hydra.run.dir={run_dir} cannot be made (Not a directory); give another folder\n"
