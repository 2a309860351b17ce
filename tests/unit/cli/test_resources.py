"""A machine that gives out is answered by one line with a remedy."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from src.cli.resources import exhausted, is_disk_full
from src.data.worker import start_worker


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


class Batches(Dataset[list[torch.Tensor]]):
    def __init__(self, killed: bool = False) -> None:
        self.killed = killed

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        if self.killed and index == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return [torch.zeros(10) for _ in range(64)]  # a descriptor each


@contextmanager
def few_open_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 24, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def loaded(dataset: Batches) -> str:
    loader = DataLoader(dataset, batch_size=2, num_workers=2, worker_init_fn=start_worker, prefetch_factor=8)
    with pytest.raises(Exception) as ended:  # noqa: PT011  # OSError or RuntimeError, by who meets the limit first
        list(loader)
    return answer(ended.value)


def test_a_loader_with_too_few_open_files_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with few_open_files():
        assert "open files are too few" in loaded(Batches())
    assert "Traceback" not in capfd.readouterr().err


def test_a_killed_loader_process_ends_the_training() -> None:
    assert "give a lower data.workers" in loaded(Batches(killed=True))
