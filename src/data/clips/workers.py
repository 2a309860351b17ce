"""Share work among processes, with a progress bar and an estimate of the time left."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from types import TracebackType
from typing import TypeVar

import cv2

from src.errors import UserError
from src.interruption import end_with_parent
from src.progress import ProgressDisplay

Task = TypeVar("Task")
Result = TypeVar("Result")

SECONDS_PER_LINE = 30.0  # of the log, where there is no terminal


class Pool:
    """Processes that end when this one does, even if it is killed, and at once where an error or signal ends the work.

    Signals of a terminal, which all processes of a command get, are left to this one.
    """

    def __init__(self, workers: int) -> None:
        # spawn: a forked child of a process that already runs torch threads may hang
        context = multiprocessing.get_context("spawn")
        stop, self._running = context.Pipe(duplex=False)  # workers see its closing
        self._pool = ProcessPoolExecutor(
            max(1, workers), mp_context=context, initializer=_end_with_parent, initargs=(stop,)
        )

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _handled_by(signal.SIG_IGN):  # a second Ctrl-C in the executor's own clean-up would block for ever
            if kind is not None:
                self._running.close()
            self._pool.shutdown(cancel_futures=True)
            self._running.close()

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task], failed: Callable[[Task, UserError], None]
    ) -> list[Result]:
        """Results of all tasks, in the order in which they end; `failed` decides what a `UserError` means.

        Raises:
            UserError: a process was killed.
        """
        with _held_back():  # processes start at the first task, and import for seconds
            futures = {self._pool.submit(work, task): task for task in tasks}
        results = []
        with ProgressDisplay("clips", len(futures), SECONDS_PER_LINE) as display:
            for future in as_completed(futures):
                try:
                    results.append(future.result())
                except UserError as error:
                    failed(futures[future], error)
                except BrokenProcessPool as error:
                    raise UserError(
                        "a process that prepares clips was killed, probably out of memory; "
                        "give a lower data.workers and start again, what is made is kept"
                    ) from error
                display.advance()
        return results


@contextmanager
def _handled_by(handler: signal.Handlers) -> Iterator[None]:
    """Handle SIGINT and SIGTERM otherwise for a while."""
    if threading.current_thread() is not threading.main_thread():  # which alone handles signals
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


@contextmanager
def _held_back() -> Iterator[None]:
    """Deliver SIGINT afterwards, and never to processes that start meanwhile: these inherit the mask of signals."""
    resource_tracker.ensure_running()  # whose start ends with a mask of its own
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(stop: connection.Connection) -> None:
    """In each process: end with the parent or when it says so, and keep to one core."""
    cv2.setNumThreads(0)
    end_with_parent(stop)
