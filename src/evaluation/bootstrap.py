"""Intervals of mIoU and of differences between systems: a paired bootstrap over blocks of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.labels import IGNORE
from src.distributed import gather
from src.errors import check_whole

LEVEL = 95  # percent
CHUNK = 250  # resamples at a time, which bounds the memory

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """The keys of `bootstrap` in conf/eval.yaml.

    Attributes:
        resamples: how often the blocks are drawn; 0 for no intervals.
        block: consecutive frames of a video that are drawn together; None: as many as a GOP has.
        seed: of the draws.

    Raises:
        UserError: a value out of range.
    """

    resamples: int
    block: int | None
    seed: int

    def __post_init__(self) -> None:
        check_whole("bootstrap.resamples", self.resamples, 0)
        check_whole("bootstrap.block", self.block, 1, null="the frames of a GOP")
        check_whole("bootstrap.seed", self.seed, 0)


@dataclass
class BlockCounts:
    """Correct pixels and unions by class, summed over blocks of frames, of several systems on the same frames.

    Args:
        systems: how many are compared.
        classes: K.
        distances: D.
        block: consecutive frames of a video in a block.
    """

    systems: int
    classes: int
    distances: int
    block: int
    _counts: dict[tuple[str, int], NDArray[np.int64]] = field(default_factory=dict)

    def update(
        self,
        video: str,
        number: int,
        distance: int,
        labels: NDArray[np.uint8],
        predictions: Sequence[NDArray[np.uint8]],
    ) -> None:
        """Count a frame.

        Args:
            video: that it is from, whichever way that is cut and coded.
            number: of the frame in the video, from the first scored one on.
            distance: to its keyframe.
            labels: (H, W), 255 = ignore.
            predictions: (H, W) of each system.
        """
        size = self.classes
        key = video, number // self.block
        if key not in self._counts:
            self._counts[key] = np.zeros((self.systems, self.distances, 2, size), np.int64)
        counts, known = self._counts[key], labels != IGNORE
        true = labels[known].astype(np.int64)
        of_labels = np.bincount(true, minlength=size)
        for system, found in enumerate(predictions):
            pairs = np.bincount(true * size + found[known], minlength=size * size).reshape(size, size)
            counts[system, distance] += (pairs.diagonal(), of_labels + pairs.sum(0) - pairs.diagonal())

    def gathered(self) -> Counts:
        """Return the counts (S, B, D, 2, K) of all processes, all of which call this; blocks in the order of names."""
        total: dict[tuple[str, int], NDArray[np.int64]] = {}
        for part in gather(self._counts):
            for key, counts in part.items():
                total[key] = total[key] + counts if key in total else counts
        empty = np.zeros((self.systems, 0, self.distances, 2, self.classes))
        return np.stack([total[key] for key in sorted(total)], 1).astype(np.float64) if total else empty


def mean_iou(counts: Counts) -> Counts:
    """Return the mean over distances of the means over classes (..) of correct pixels and unions (.., D, 2, K).

    Classes and distances where nothing occurs do not count; NaN where nothing occurs at all.
    """
    true, union = counts[..., 0, :], counts[..., 1, :]
    return _mean(_mean(np.where(union > 0, true / np.maximum(union, 1), np.nan)))


def intervals(counts: Counts, options: Bootstrap) -> list[dict[str, Any]]:
    """Return the interval of mIoU of each system, and those of its differences to the systems before it.

    Blocks are drawn with replacement, as many as there are, the same for all systems (Efron and Tibshirani, An
    introduction to the bootstrap, 1993, section 8.5; blocks: Carlstein, 1986). Intervals are percentiles.

    Args:
        counts: (S, B, D, 2, K) of `BlockCounts`.
        options: how often to draw, and the seed.

    Returns:
        For each system `interval` [low, high] of its mIoU in 0..1, and `differences`: for each system before it the
        difference `miou` over all frames and its `interval`.
    """
    systems, blocks = counts.shape[:2]
    flat, drawn = counts.reshape(systems, blocks, -1), np.random.default_rng(options.seed)
    scores = np.empty((systems, options.resamples))
    for start in range(0, options.resamples, CHUNK):
        size = min(CHUNK, options.resamples - start)
        often = drawn.multinomial(blocks, np.full(blocks, 1 / blocks), size).astype(np.float64)
        scores[:, start : start + size] = mean_iou((often @ flat).reshape(systems, size, *counts.shape[2:]))
    whole = mean_iou(counts.sum(1))
    return [
        {
            "interval": _interval(scores[one]),
            "differences": [
                {"miou": float(whole[one] - whole[other]), "interval": _interval(scores[one] - scores[other])}
                for other in range(one)
            ],
        }
        for one in range(systems)
    ]


def _mean(values: Counts) -> Counts:
    known = np.isfinite(values)
    number = known.sum(-1)
    total = np.where(known, values, 0).sum(-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _interval(values: Counts) -> list[float | None]:
    if np.isnan(values).all():  # nothing but ignored pixels
        return [None, None]
    tail = (100 - LEVEL) / 2
    return [round(float(v), 6) for v in np.nanpercentile(values, [tail, 100 - tail])]
