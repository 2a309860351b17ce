from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from src.errors import UserError
from src.inference.output_folder import COMPLETE, PARTIAL, atomic_output_folder
from src.interruption import Interruption
from src.locks import LOCK
from tests.support.configs import ROOT


def test_files_appear_together_at_the_end(tmp_path):
    output = tmp_path / "deep" / "output"
    with atomic_output_folder(output) as folder:
        (folder / "a.txt").write_text("a")
        (folder / "labels").mkdir()
        (folder / "labels" / "0.png").write_text("0")
        assert [item.name for item in output.iterdir()] == [PARTIAL]
    assert sorted(item.name for item in output.iterdir()) == ["a.txt", "labels"]
    assert (output / "labels" / "0.png").read_text() == "0"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, UserError])
def test_nothing_is_left_of_a_run_that_stops(tmp_path, error):
    def run():
        with atomic_output_folder(tmp_path / "deep" / "output") as folder:
            (folder / "a.txt").write_text("a")
            raise error

    with pytest.raises(error):
        run()
    assert not list(tmp_path.iterdir())


def test_an_interruption_names_the_folder(tmp_path):
    with pytest.raises(Interruption) as ended, atomic_output_folder(tmp_path / "output"):
        raise Interruption(signal.SIGINT)
    assert ended.value.__notes__ == [f"'{tmp_path / 'output'}' is left as it was; start it again"]


def test_empty_folder_of_the_user_is_used_and_kept(tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    with pytest.raises(RuntimeError), atomic_output_folder(output):
        raise RuntimeError
    assert output.is_dir()
    with atomic_output_folder(output) as folder:
        (folder / "a.txt").write_text("a")
    assert (output / "a.txt").exists()


def test_folder_with_files_is_refused_untouched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'mine\.txt'"), atomic_output_folder(tmp_path):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["mine.txt"]


def test_second_run_into_the_same_folder_is_refused_and_harms_nothing(tmp_path):
    output = tmp_path / "output"
    with atomic_output_folder(output) as folder:
        (folder / "a.txt").write_text("a")
        with pytest.raises(UserError, match=f"process {os.getpid()} on .*still running"), atomic_output_folder(output):
            pass
    assert (output / "a.txt").read_text() == "a"


def started_in(output, work):
    """Start a process that fills the folder, and then does some work in it."""
    code = f"""
import os, sys, pathlib
from src.inference import output_folder
with output_folder.atomic_output_folder(pathlib.Path({str(output)!r})) as folder:
    (folder / "labels").mkdir()
    for name in ("labels/0.png", "overlay.mp4", "timing.json"):
        (folder / name).write_text("killed")
    {work}
"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("keep", [False, True])
def test_the_folder_of_a_killed_run_is_taken_over_and_that_of_a_running_one_is_not(tmp_path, keep):
    output = tmp_path / "output"
    for number in (1, 2):
        with started_in(output, "print(flush=True); input()") as process:
            process.stdout.readline()
            for _ in range(2):
                message = f"belongs to process {process.pid} on .*still running; wait for it"
                with pytest.raises(UserError, match=message), atomic_output_folder(output, keep):
                    pass
            assert (output / PARTIAL / "labels" / "0.png").read_text() == "killed"
            process.kill()
        with pytest.raises(RuntimeError, match=r"^$"), atomic_output_folder(output, keep):  # nothing is left in it
            raise RuntimeError(*(item.name for item in (output / PARTIAL).iterdir() if item.name != LOCK))
        kept = [f"killed_{n + 1}/{name}" for n in range(number) for name in ("labels", "overlay.mp4", "timing.json")]
        assert sorted(str(item.relative_to(output)) for item in output.glob("*/*")) == (kept if keep else [])
    with atomic_output_folder(output, keep) as folder:
        (folder / "overlay.mp4").write_text("new")
    assert (output / "overlay.mp4").read_text() == "new"


def test_results_of_a_run_that_was_killed_while_they_were_moved_are_complete(tmp_path):
    work = """
    moved, replace = [], os.replace
    def killing(source, target):
        moved.append(target)
        os._exit(9) if len(moved) == 3 else replace(source, target)
    os.replace = killing"""
    with started_in(tmp_path, work) as process:
        process.communicate(timeout=60)
    assert process.returncode == 9
    assert sorted(item.name for item in tmp_path.iterdir()) == [COMPLETE, "labels"]
    with pytest.raises(UserError, match="holds 'labels' and nothing is overwritten"), atomic_output_folder(tmp_path):
        pass
    assert sorted(item.name for item in tmp_path.iterdir()) == ["labels", "overlay.mp4", "timing.json"]


@pytest.mark.parametrize("place", ["file.txt", "file.txt/output"])
def test_place_that_cannot_be_written_is_one_error(tmp_path, place):
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UserError, match="cannot be written"), atomic_output_folder(tmp_path / place):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_full_disk_is_the_users_error_and_other_faults_are_ours(tmp_path):
    with pytest.raises(UserError, match="make room"), atomic_output_folder(tmp_path / "output"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="odd"), atomic_output_folder(tmp_path / "output"):
        raise OSError(errno.EIO, "odd")
    assert not list(tmp_path.iterdir())
