"""SIGINT, SIGTERM and SIGHUP: a command leaves through `finally` with one line; a training saves before."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from types import FrameType
from typing import ClassVar

from src.errors import Exhausted, UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_AGAIN = "no results were written; start it again"
SAME = 0.3  # seconds: a wrapper passes on the signal that its whole process group got, which is then one signal


class Interruption(SystemExit):
    """Ends a command at a signal, with the shell's exit status: 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


class _Watch:
    """Keep the process that called `watch_signals`, and the signal that it received."""

    process: ClassVar[int | None] = None
    received: ClassVar[int | None] = None
    since: ClassVar[float] = 0.0
    deferred: ClassVar[str | None] = None


def watch_signals() -> None:
    """Raise `Interruption` in the main thread at a signal from now on; a second Ctrl-C ends the process at once.

    A signal that the parent has set to be ignored, as `nohup` does, remains ignored. While the interpreter ends, all
    are: it has given up Python's handlers by then, and a complete command would have the exit status of a killed one.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if not is_watching():
        atexit.register(_ignore_signals)
    _Watch.process = os.getpid()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _answer)


def _ignore_signals() -> None:
    if is_watching():  # not in a forked child, which inherits what was registered
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def is_watching() -> bool:
    """Return whether this process called `watch_signals`."""
    return _Watch.process == os.getpid()


def defer_signals(until: str | None) -> None:
    """Only take note of a first signal from now on, for `raise_received`; others may have handled it before.

    In a process without `watch_signals`, such as that of a test or a notebook, signals are left as they are.

    Args:
        until: what is done first, for the user who waits for it; None: raise at once again.
    """
    if is_watching():
        watch_signals()
        _Watch.deferred = until


def received() -> int | None:
    """Return the number of the signal that was received, if one was."""
    return _Watch.received


def raise_received() -> None:
    """Raise what a deferred signal stands for.

    Raises:
        Interruption: a signal was received.
    """
    if _Watch.received is not None:
        raise Interruption(_Watch.received)


@contextlib.contextmanager
def noted(note: Callable[[], str]) -> Iterator[None]:
    """Add to what ends the block early a sentence about what is kept and how to continue; bad input needs none."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exhausted) or not isinstance(error, UserError):
            error.add_note(note())
        raise


def leave_signals_to_parent() -> None:
    """Let the parent alone end this process, one of its workers, which it needs for its last step.

    SIGINT and SIGHUP are ignored, SIGTERM unless it comes from the parent, which may terminate its children by it.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # of threads to come, too
        threading.Thread(target=_end_at_parents_sigterm, args=(_parent(),), daemon=True).start()


def end_with_parent(*stops: connection.Connection) -> None:
    """Let this process, one of a parent's workers, end when the parent does, even if it is killed.

    For the system the parent of processes under forkserver is the server, which lives as long as any of them: whoever
    watches that one, as PyTorch's loaders do, waits for ever.

    Args:
        stops: connections, whose closing by the parent ends this process, too.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_at_first, args=([parent.sentinel, *stops],), daemon=True).start()


def _end_at_first(ends: list[int | connection.Connection]) -> None:
    connection.wait(ends)
    os._exit(1)


def _parent() -> int | None:
    """Process that started this one, which under forkserver is not its parent for the system."""
    parent = multiprocessing.parent_process()
    return os.getppid() if parent is None else parent.pid


def _end_at_parents_sigterm(parent: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid not in (parent, os.getppid()):
        pass
    os._exit(0)


def _answer(number: int, _: FrameType | None) -> None:
    if os.getpid() != _Watch.process:  # a forked child: its parent knows what to do
        return
    first, now = _Watch.received is None, time.monotonic()
    if first:
        _Watch.received, _Watch.since = number, now
        if _Watch.deferred is None:
            raise Interruption(number)
        name = signal.Signals(number).name
        os.write(2, f"{name}: waiting for {_Watch.deferred}; Ctrl-C again ends at once\n".encode())
    elif now - _Watch.since <= SAME:
        return
    elif number != signal.SIGINT and _Watch.deferred is None:  # the first one was lost in somebody's `except`
        _Watch.since = now
        raise Interruption(number)
    elif number == signal.SIGINT:
        for child in multiprocessing.active_children():
            child.kill()
        os.write(2, b"error: SIGINT again: ended at once\n")
        os._exit(128 + number)
