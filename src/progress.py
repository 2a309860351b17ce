"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


class Interval:
    """Tells when the next log line is due.

    Args:
        seconds: from one line to the next at least.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def is_due(self) -> bool:
        """Return whether the last line is long enough ago."""
        return time.monotonic() - self._last >= self._seconds

    def restart(self) -> None:
        """Count from now, as a line was logged."""
        self._last = time.monotonic()


class ProgressDisplay:
    """Counts items: a bar with rate and remaining time on a terminal, else log lines with the same.

    Args:
        unit: plural of the items' name, such as "frames".
        total: number of items; 0 for unknown.
        seconds: between log lines.
    """

    def __init__(self, unit: str, total: int, seconds: float = 10.0) -> None:
        self._unit, self._total, self._done = unit, total, 0
        self._start, self._interval = time.monotonic(), Interval(seconds)
        columns = (
            TextColumn("{task.fields[rate]:.3g} " + f"{unit}/s"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._terminal = sys.stdout.isatty()
        self._bar = Progress(*columns, disable=not self._terminal)
        self._task = self._bar.add_task("", total=total or None, rate=0.0)

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """Count one item."""
        self._done += 1
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        self._bar.update(self._task, completed=self._done, rate=rate)
        if not self._terminal and (self._interval.is_due() or self._done == self._total):
            self._interval.restart()
            log.info("%s", self._line(rate))

    def _line(self, rate: float) -> str:
        if not self._total:
            return f"{self._done} {self._unit}, {rate:.3g} {self._unit}/s"
        minutes = (self._total - self._done) / rate / 60
        return f"{self._done}/{self._total} {self._unit}, {rate:.3g} {self._unit}/s, {minutes:.1f} min left"
