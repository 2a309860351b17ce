"""How far a film has come: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

Item = TypeVar("Item")

SECONDS_PER_LINE = 10.0


def watched(items: Iterable[Item], total: int) -> Iterator[Item]:
    """The items, their progress shown on the way; total 0 = unknown."""
    return _with_bar(items, total) if sys.stdout.isatty() else _with_lines(items, total)


def _with_bar(items: Iterable[Item], total: int) -> Iterator[Item]:
    columns = (
        TextColumn("{task.fields[rate]:.1f} frames/s"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns) as progress:
        task = progress.add_task("", total=total or None, rate=0.0)
        for count, item in enumerate(items, start=1):
            yield item
            progress.update(task, completed=count, rate=count / (time.monotonic() - started))


def _with_lines(items: Iterable[Item], total: int) -> Iterator[Item]:
    started = spoke = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - spoke >= SECONDS_PER_LINE:
            spoke = now
            log.info("frame %d%s, %.1f frames/s", count, f"/{total}" if total else "", count / (now - started))
