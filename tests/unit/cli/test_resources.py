"""A machine that gives out is answered by one line with a remedy."""

from __future__ import annotations

import errno
from unittest import mock

import pytest
import torch

from src.cli.resources import exhausted, is_disk_full
from src.data import worker


def answer(error: BaseException, has_workers: bool = True) -> str:
    return str(exhausted(error, has_workers))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/x"), "the disk of 'run/x' is full; make room"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "the disk is full; make room"),
        (OSError(errno.EMFILE, "Too many open files"), "`ulimit -n 4096`, or give data.workers=0"),
        (RuntimeError("received 0 items of ancdata"), "`ulimit -n 4096`, or give data.workers=0"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"), "--shm-size=8g"),
        (RuntimeError("unable to write to file </torch_7>: No space left on device (28)"), "--shm-size=8g"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "give a lower data.workers"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "Killed, probably out of memory"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "a data loader process was lost"),
        (MemoryError(), "out of memory; give a lower data.batch_size"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
            "out of memory; give a lower data.batch_size",
        ),
    ],
)
def test_each_limit_has_its_remedy(error: BaseException, expected: str) -> None:
    assert expected in answer(error)


def test_other_errors_are_left_as_they_are() -> None:
    assert exhausted(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), True) is None
    assert exhausted(OSError(errno.ENOENT, "No such file", "x"), True) is None


def test_a_full_disk_is_found_behind_other_errors() -> None:
    error = ValueError("cannot save")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(error)
    assert "data.workers" not in answer(error, has_workers=False)


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (worker._end_after, RuntimeError("unable to open shared memory object </torch_7>: Too many open files (24)")),
        (worker._end_after, OSError(errno.EMFILE, "Too many open files")),
        (lambda error, _: worker._end_at_limit(OSError, error, None), OSError(errno.EMFILE, "Too many open files")),
    ],
    ids=["a batch in shared memory", "a batch", "a descriptor"],
)
def test_a_loader_process_that_cannot_hand_over_ends_with_the_number_of_the_error(end, error) -> None:
    with mock.patch("os._exit") as exited:
        end(error, None)
    exited.assert_called_once_with(errno.EMFILE)
    reported = RuntimeError(f"DataLoader worker (pid 7) exited unexpectedly with exit code {errno.EMFILE}. Details")
    assert "open files are too few" in answer(reported)


def test_a_loader_process_prints_other_errors(capsys: pytest.CaptureFixture[str]) -> None:
    worker._end_at_limit(ValueError, ValueError("odd"), None)
    assert "odd" in capsys.readouterr().err
    with mock.patch("os._exit") as exited:
        worker._end_after(TypeError("cannot be pickled"), None)
    exited.assert_called_once_with(1)
    assert "cannot be pickled" in capsys.readouterr().err
