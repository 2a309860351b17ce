"""Locks on folders between processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.locks import lock_folder, unlock_folder
from tests.support.configs import ROOT


@contextmanager
def another_process_holds(folder: Path) -> Iterator[subprocess.Popen[str]]:
    code = (
        f"import pathlib, src.locks; print(src.locks.lock_folder(pathlib.Path({str(folder)!r})), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "None\n"
        yield process
        process.kill()


def test_one_process_holds_a_folder_until_it_is_killed(tmp_path: Path) -> None:
    with another_process_holds(tmp_path) as process:
        owner = lock_folder(tmp_path)
        assert owner is not None
        assert owner.startswith(f"process {process.pid} on ")
        assert lock_folder(tmp_path / ".") == owner, "asking does not take it"
    assert lock_folder(tmp_path) is None
    assert lock_folder(tmp_path) is None, "the same process resumes"
    unlock_folder(tmp_path)
    with another_process_holds(tmp_path):
        pass
