"""From block vectors to a dense motion field that leads back to the keyframe."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from src.video.types import Frame, Motion
from src.video.vectors import NO_ROWS

_UNCOVERED = 2  # in a mask of 0 and 1, while it is filled


def identity(height: int, width: int) -> Motion:
    """The motion of a keyframe to itself: zero and valid everywhere."""
    return Motion(np.zeros((2, height, width), np.float32), np.ones((height, width), np.bool_))


def rasterise(vectors: NDArray[np.float32], height: int, width: int) -> Motion:
    """One hop: the dense motion of a frame to its previous frame.

    Pixels that no block covers (intra) keep their place and are invalid, and so are those whose
    source lies outside the picture. Where blocks overlap, the last one wins.
    """
    return extend(identity(height, width), vectors)


def extend(to_key: Motion, vectors: NDArray[np.float32], into: Motion | None = None) -> Motion:
    """Motion to the keyframe of the frame after the one that `to_key` belongs to.

    The same as `chain(to_key, rasterise(vectors, ...))`, in one pass over the blocks: inside a block the
    displacement, and with it the bilinear weights, are constant.

    Args:
        to_key: of the frame before.
        vectors: (N, 6) as of `Frame`.
        into: a motion of the same size that is overwritten and returned, other than `to_key`; None: a new one.
    """
    if into is None:
        into = Motion(np.empty_like(to_key.field), np.empty_like(to_key.valid))
    known, marks = to_key.valid.view(np.uint8), into.valid.view(np.uint8)
    marks.fill(_UNCOVERED)
    _extend(to_key.field, known, _merged(vectors), into.field, marks)
    _keep(to_key.field, into.field, marks)
    return into


def _merged(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blocks that follow each other from left to right with the same vector as one: long rows are filled faster."""
    if len(vectors) < 2:
        return np.ascontiguousarray(vectors, np.float32)
    before, after = vectors[:-1], vectors[1:]
    joined = (after[:, [1, 3, 4, 5]] == before[:, [1, 3, 4, 5]]).all(1) & (after[:, 0] == before[:, 0] + before[:, 2])
    first = np.flatnonzero(np.concatenate([[True], ~joined]))
    rows = np.ascontiguousarray(vectors[first], np.float32)
    rows[:, 2] = np.add.reduceat(vectors[:, 2], first)
    return rows


def chain(to_key_of_previous: Motion, hop: Motion) -> Motion:
    """Motion to the keyframe through one dense hop to the previous frame.

    field(x) = hop(x) + previous(x + hop(x)), the previous field sampled bilinearly, borders replicated.
    Valid where the hop is, where x + hop(x) lies inside the picture, and where every sample used is valid.
    """
    field, valid = np.empty_like(hop.field), np.empty_like(hop.valid)
    _chain(to_key_of_previous.field, to_key_of_previous.valid, hop.field, hop.valid, field, valid)
    return Motion(field, valid)


def warp(image: NDArray[Any], motion: Motion, nearest: bool = False) -> NDArray[Any]:
    """The earlier `image`, (H, W, C) or (H, W), moved to where the motion's frame has it.

    Bilinear (weights in steps of 1/32 pixel), or `nearest` for labels; borders replicated. Invalid pixels
    are filled like the others: mask them with `motion.valid` where it matters.
    """
    height, width = motion.valid.shape
    x = motion.field[0] + np.arange(width, dtype=np.float32)
    y = motion.field[1] + np.arange(height, dtype=np.float32)[:, None]
    mode = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(image, x, y, mode, borderMode=cv2.BORDER_REPLICATE)


class MotionChain:
    """Follows a film frame by frame and knows the motion of the latest frame to its keyframe.

    The first frame and every I frame are keyframes; `reset` makes one of any other. A frame without
    vectors that is no keyframe (its motion was lost) gets its predecessor's field, invalid everywhere.
    """

    def __init__(self) -> None:
        self._motion: Motion | None = None

    def update(self, frame: Frame) -> Motion:
        """Motion of `frame`, which follows the frame given before, to the latest keyframe."""
        height, width = frame.image.shape[:2]
        if self._motion is None or frame.picture_type == "I":
            self._motion = identity(height, width)
        else:
            self._motion = extend(self._motion, NO_ROWS if frame.vectors is None else frame.vectors)
        return self._motion

    def reset(self) -> None:
        """Make the next frame given a keyframe."""
        self._motion = None


@njit(cache=True, nogil=True, error_model="numpy")
def _sample(previous, previous_valid, x, y, hop_x, hop_y, field, valid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Set field and validity of one pixel; the general case, with borders."""
    height, width = previous_valid.shape
    source_x, source_y = x + hop_x, y + hop_y
    inside = 0 <= source_x <= width - 1 and 0 <= source_y <= height - 1
    clamped_x = min(max(source_x, np.float32(0)), np.float32(width - 1))
    clamped_y = min(max(source_y, np.float32(0)), np.float32(height - 1))
    x0, y0 = int(clamped_x), int(clamped_y)
    right, below = np.float32(clamped_x - x0), np.float32(clamped_y - y0)
    x1, y1 = x0 + (right > 0), y0 + (below > 0)
    left, above = np.float32(1) - right, np.float32(1) - below
    for c in range(2):
        top = left * previous[c, y0, x0] + right * previous[c, y0, x1]
        bottom = left * previous[c, y1, x0] + right * previous[c, y1, x1]
        field[c, y, x] = (hop_x if c == 0 else hop_y) + above * top + below * bottom
    valid[y, x] = (
        inside
        and previous_valid[y0, x0]
        and previous_valid[y0, x1]
        and previous_valid[y1, x0]
        and previous_valid[y1, x1]
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _chain(previous, previous_valid, hop, hop_valid, field, valid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    height, width = hop_valid.shape
    for y in range(height):
        for x in range(width):
            _sample(previous, previous_valid, x, y, hop[0, y, x], hop[1, y, x], field, valid)
            valid[y, x] = valid[y, x] and hop_valid[y, x]


@njit(cache=True, nogil=True, error_model="numpy")
def _extend(previous, previous_valid, blocks, field, valid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    height, width = previous_valid.shape
    for n in range(blocks.shape[0]):
        x0, y0 = max(int(blocks[n, 0]), 0), max(int(blocks[n, 1]), 0)
        x1 = min(int(blocks[n, 0] + blocks[n, 2]), width)
        y1 = min(int(blocks[n, 1] + blocks[n, 3]), height)
        if x0 >= x1 or y0 >= y1:
            continue
        dx, dy = blocks[n, 4], blocks[n, 5]
        step_x, step_y = int(np.floor(dx)), int(np.floor(dy))
        right, below = np.float32(dx - step_x), np.float32(dy - step_y)
        more_x, more_y = int(right > 0), int(below > 0)
        # Columns [inner0, inner1) have all their samples inside the picture; elsewhere borders need care.
        inner0 = min(max(x0, -step_x), x1)
        inner1 = max(min(x1, width - more_x - step_x), inner0)
        for y in range(y0, y1):
            upper, lower = y + step_y, y + step_y + more_y
            if upper < 0 or lower >= height:
                for x in range(x0, x1):
                    _sample(previous, previous_valid, x, y, dx, dy, field, valid)
                continue
            for x in range(x0, inner0):
                _sample(previous, previous_valid, x, y, dx, dy, field, valid)
            for x in range(inner1, x1):
                _sample(previous, previous_valid, x, y, dx, dy, field, valid)
            if inner0 == inner1:
                continue
            left0, left1 = inner0 + step_x, inner1 + step_x  # of the samples to the left; their neighbours:
            right0, right1 = left0 + more_x, left1 + more_x
            for c in range(2):
                _blend(
                    previous[c, upper, left0:left1],
                    previous[c, upper, right0:right1],
                    previous[c, lower, left0:left1],
                    previous[c, lower, right0:right1],
                    right,
                    below,
                    dx if c == 0 else dy,
                    field[c, y, inner0:inner1],
                )
            _all_of(
                previous_valid[upper, left0:left1],
                previous_valid[upper, right0:right1],
                previous_valid[lower, left0:left1],
                previous_valid[lower, right0:right1],
                valid[y, inner0:inner1],
            )


# Rows are cut beforehand and indexed by the counter alone: only such loops does the compiler vectorise.
@njit(cache=True, nogil=True, error_model="numpy")
def _blend(top, top_right, bottom, bottom_right, right, below, hop, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """hop + the bilinear mean of four rows, of which those to the right count `right`, those below `below`."""
    left, above = np.float32(1) - right, np.float32(1) - below
    for i in range(out.shape[0]):
        upper = left * top[i] + right * top_right[i]
        lower = left * bottom[i] + right * bottom_right[i]
        out[i] = hop + (above * upper + below * lower)


@njit(cache=True, nogil=True, error_model="numpy")
def _all_of(a, b, c, d, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for i in range(out.shape[0]):
        out[i] = a[i] & b[i] & c[i] & d[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _keep(previous, field, valid):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Pixels that no block covers keep their place and are invalid."""
    height, width = valid.shape
    for y in range(height):
        some = False
        for x in range(width):
            some |= valid[y, x] == _UNCOVERED
        if some:
            for x in range(width):
                if valid[y, x] == _UNCOVERED:
                    field[0, y, x], field[1, y, x] = previous[0, y, x], previous[1, y, x]
                    valid[y, x] = 0
