"""Answers to a machine that gives out: disk, file descriptors, memory, shared memory."""

from __future__ import annotations

import errno
import re
import resource
from collections.abc import Iterator

from src.errors import Exhausted

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_MEMORY = "out of memory|not enough memory|annot allocate memory|failed to map|MemoryError|bad_alloc|new thread"
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, is that of a full disk."""
    return any(isinstance(e, OSError) and e.errno in FULL for e in _chain(error))


def exhausted(error: BaseException, has_workers: bool) -> Exhausted | None:
    """Return the answer to an error that comes of a limit of the machine; None for any other error.

    Args:
        error: of a task.
        has_workers: whether the command has the key `data.workers`.
    """
    errors = list(_chain(error))
    text = "\n".join(str(e) for e in errors)
    numbers = {e.errno for e in errors if isinstance(e, OSError)}
    fewer = ", or give data.workers=0" if has_workers else ""
    code = int(found[1]) if (found := re.search(r"exit code (\d+)", text)) else None  # of `src.data.worker`
    if code in FULL or re.search("Bus error|shared memory.*No space left|file </torch.*No space left", text):
        return Exhausted(f"/dev/shm is too small for data loader processes; enlarge it (docker: --shm-size=8g){fewer}")
    if numbers & set(FULL) or "No space left on device" in text:
        name = next((e.filename for e in errors if isinstance(e, OSError) and e.filename), None)
        place = f" of '{name}'" if name else ""
        return Exhausted(f"the disk{place} is full; make room, or give another folder")
    if (numbers | {code}) & set(TOO_MANY_FILES) or re.search("Too many open files|items of ancdata", text):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return Exhausted(f"{limit} open files are too few; raise the limit by `ulimit -n 4096`{fewer}")
    if worker := re.search(r"DataLoader worker \(pid.*?\d\) (is killed by signal: \w+|exited unexpectedly)", text):
        return Exhausted(f"{worker[0]}, probably out of memory; give a lower data.workers or data.batch_size")
    if has_workers and any(isinstance(e, (ConnectionError, EOFError)) for e in errors):  # while it handed over a batch
        return Exhausted("a data loader process was lost, probably out of memory or open files; give data.workers=0")
    if any(isinstance(e, MemoryError) for e in errors) or re.search(NO_MEMORY, text):
        smaller = "a lower data.batch_size or data.workers" if has_workers else "a smaller input"
        return Exhausted(f"out of memory; give {smaller}")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
