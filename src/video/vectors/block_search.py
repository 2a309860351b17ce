"""Block motion of any codec, by block search on the decoded frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from src.video.reading.damage import DecodedFrame
from src.video.vectors.block_search_kernel import BLOCK, search
from src.video.vectors.exported import NO_ROWS

FrameWithVectors = tuple[DecodedFrame, NDArray[np.float32] | None]

REACH = 7  # pixels


class MotionSearch(Protocol):
    """Something that finds the motion of each frame to the one before it, all of one size."""

    def update(self, frame: av.VideoFrame) -> NDArray[np.float32] | None:
        """Return the (N, 6) vectors of the next frame to the one before it, as of `Frame`; None for the first."""


class BlockSearch:
    """Find the motion of each frame to the one before it, in blocks of 8 pixels and whole pixels.

    Args:
        height, width: of the frames, at least one block each.
    """

    def __init__(self, height: int, width: int) -> None:
        self._tables = np.zeros((3, height // BLOCK, width // BLOCK, 2), np.int32)
        self._before: NDArray[np.uint8] | None = None

    def update(self, frame: av.VideoFrame) -> NDArray[np.float32] | None:
        """Return the (N, 6) vectors of the next frame to the one before it, as of `Frame`; None for the first."""
        before, self._before = self._before, luma_of(frame)
        if before is None:
            return None
        self._tables = np.roll(self._tables, 1, axis=0)
        rows = np.empty((self._tables[0, ..., 0].size, 6), np.float32)
        search(self._before, before, self._tables, REACH, rows)
        return rows


def with_estimated_vectors(
    frames: Iterable[DecodedFrame], search: Callable[[int, int], MotionSearch] = BlockSearch
) -> Iterator[FrameWithVectors]:
    """Each displayed frame with its (N, 6) vectors to the one before it; None for the first.

    None also after a change of size; no rows where the frame is smaller than a block.

    Args:
        frames: of the video.
        search: makes what finds the vectors, from height and width.
    """
    found: MotionSearch | None = None
    size = None
    for coded in frames:
        now = coded.frame.height, coded.frame.width
        if min(now) < BLOCK:
            found = None
            yield coded, NO_ROWS
            continue
        if found is None or now != size:
            found, size = search(*now), now
        yield coded, found.update(coded.frame)


def luma_of(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Copy the luma (H, W) of a decoded frame of any pixel format."""
    plane = frame.reformat(format="yuv420p").planes[0]
    return np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()
