from __future__ import annotations

import errno
import signal

import pytest

from src.errors import UserError
from src.inference.output_folder import PARTIAL, atomic_output_folder
from src.interruption import Interruption


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
        with pytest.raises(UserError, match="still running or was killed"), atomic_output_folder(output):
            pass
    assert (output / "a.txt").read_text() == "a"


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
