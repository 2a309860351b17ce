"""Work shared among processes, with a progress bar and an estimate of what is left."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from types import TracebackType
from typing import TypeVar

import cv2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

QUIET = 30  # seconds between lines where there is no terminal

log = logging.getLogger(__name__)


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
        with _Shown(len(futures)) as shown:
            for future in as_completed(futures):
                try:
                    results.append(future.result())
                except UserError as error:
                    failed(error)
                except BrokenProcessPool as error:
                    raise UserError(
                        "a process that prepares clips was killed, perhaps for want of memory; "
                        "give a lower data.workers and start again, what is made is kept"
                    ) from error
                shown.advance()
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


class _Shown:
    """A bar on a terminal, else a line every half minute."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._begin = total, 0, time.monotonic()
        self._spoke = self._begin
        parts = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(TextColumn("preparing clips"), *parts, disable=not sys.stdout.isatty())
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        self._done += 1
        self._bar.advance(self._task)
        now = time.monotonic()
        if not sys.stdout.isatty() and (now - self._spoke > QUIET or self._done == self._total):
            left = (now - self._begin) / self._done * (self._total - self._done)
            log.info("prepared %d/%d clips, about %.0f min left", self._done, self._total, left / 60)
            self._spoke = now
