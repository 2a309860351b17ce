"""Share work among processes, with a progress bar and an estimate of the time left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from types import TracebackType
from typing import TypeVar

import cv2

from src.errors import UserError
from src.progress import ProgressDisplay

Task = TypeVar("Task")
Result = TypeVar("Result")

SECONDS_PER_LINE = 30.0  # of the log, where there is no terminal


class Pool:
    """Processes that end when this one does, even if it is killed."""

    def __init__(self, workers: int) -> None:
        # spawn: a forked child of a process that already runs torch threads may hang
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max(1, workers), mp_context=context, initializer=_start)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task], failed: Callable[[UserError], None]
    ) -> list[Result]:
        """Results of all tasks, in the order in which they end; `failed` decides what a `UserError` means.

        Raises:
            UserError: a process was killed.
        """
        futures = [self._pool.submit(work, task) for task in tasks]
        results = []
        with ProgressDisplay("clips", len(futures), SECONDS_PER_LINE) as display:
            for future in as_completed(futures):
                try:
                    results.append(future.result())
                except UserError as error:
                    failed(error)
                except BrokenProcessPool as error:
                    raise UserError(
                        "a process that prepares clips was killed, probably out of memory; "
                        "give a lower data.workers and start again, what is made is kept"
                    ) from error
                display.advance()
        return results


def _start() -> None:
    """In each process: leave Ctrl-C to the parent, end with it, and keep to one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
