"""The last line of a command that does not end well."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from src.interruption import START_AGAIN, Interruption, defer_signals, is_watching, watch_signals

interruption_notes: list[Callable[[], str]] = []  # of parts that wait for what lives on without this process
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # as Lightning reads them


def end_with(message: str, status: int = 2) -> NoReturn:
    """Print one line on stderr, which may be a file on a full disk, and exit."""
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def answers_signals() -> Iterator[None]:
    """Watch signals, and answer one that ends the block by one line and 128 and its number as exit status.

    Inside such a block, another one leaves them to it.
    """
    if is_watching():
        yield
        return
    watch_signals()
    try:
        yield
    except Interruption as error:
        if not is_first_process():
            raise
        notes = getattr(error, "__notes__", [note() for note in interruption_notes] or [START_AGAIN])
        end_with(f"interrupted by {error.signal}: {'; '.join(notes)}", int(str(error.code)))
    finally:
        defer_signals("the last files to be closed")


def is_first_process() -> bool:
    """Return whether this process is the first or only one of its command, which speaks for all."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"
