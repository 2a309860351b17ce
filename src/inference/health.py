"""Health of a live source: rate, latency, queue, dropped frames, reconnections."""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import Any

import numpy as np

from src.progress import Interval
from src.video.reading.live import LiveVideo

_LATEST = 1000  # frames that percentiles are of

log = logging.getLogger(__name__)


class Health:
    """Counts of a live source, logged in one line at intervals.

    Args:
        video: the source.
        seconds: from line to line.
        drops: whether frames are left out when a newer one waits.

    Attributes:
        dropped: frames so far that the network did not see.
    """

    def __init__(self, video: LiveVideo, seconds: float, drops: bool) -> None:
        self._video, self._interval, self.drops = video, Interval(seconds), drops
        self._latencies: deque[float] = deque(maxlen=_LATEST)
        self._began, self._frames, self.dropped = monotonic(), 0, 0

    def add(self, seconds: float) -> None:
        """Count a frame whose labels were there `seconds` after it was decoded."""
        self._frames += 1
        self._latencies.append(1000 * seconds)

    def tick(self, waiting: int) -> None:
        """Log a line if it is time; `waiting` frames wait for the network."""
        if self._interval.is_due():
            self._interval.restart()
            found = self.summary()
            latency = " / ".join(f"{value:.0f}" for value in found["latency_milliseconds"].values())
            log.info(
                "%s: %.1f frames/s, latency p50 / p95 / p99 %s ms, %d waiting, %d dropped, %d reconnections",
                self._video.path, found["frames_per_second"], latency or "-", waiting, self.dropped,
                self._video.reconnections,
            )  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """Return the counts so far, and percentiles of the latency of the latest frames."""
        percentiles = np.percentile(self._latencies, (50, 95, 99)) if self._latencies else ()
        return {
            "frames_per_second": round(self._frames / max(monotonic() - self._began, 1e-9), 3),
            "latency_milliseconds": {
                f"p{rank}": round(float(value), 1) for rank, value in zip((50, 95, 99), percentiles, strict=False)
            },
            "dropped_frames": self.dropped,
            "reconnections": self._video.reconnections,
        }
