"""From block vectors to a dense motion field that leads back to the keyframe."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from src.video.types import Frame, Motion
from src.video.vectors import NO_ROWS


def identity(height: int, width: int) -> Motion:
    """The motion of a keyframe to itself: zero and valid everywhere."""
    return Motion(np.zeros((2, height, width), np.float32), np.ones((height, width), np.bool_))


def rasterise(vectors: NDArray[np.float32], height: int, width: int) -> Motion:
    """One hop: the dense motion of a frame to its previous frame.

    Pixels that no block covers (intra) keep their place and are invalid, and so are those whose
    source lies outside the picture. Where blocks overlap, the last one wins.
    """
    return extend(identity(height, width), vectors)


def extend(to_key: Motion, vectors: NDArray[np.float32]) -> Motion:
    """Motion to the keyframe of the frame after the one that `to_key` belongs to.

    The same as `chain(to_key, rasterise(vectors, ...))`, in one pass over the blocks: inside a block the
    displacement, and with it the bilinear weights, are constant.
    """
    field, valid = to_key.field.copy(), np.zeros_like(to_key.valid)
    _extend(to_key.field, to_key.valid, np.ascontiguousarray(vectors, np.float32), field, valid)
    return Motion(field, valid)


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
        # The fast loop reads one column and row more than the block; elsewhere borders need care.
        if x0 + step_x < 0 or x1 + step_x >= width or y0 + step_y < 0 or y1 + step_y >= height:
            for y in range(y0, y1):
                for x in range(x0, x1):
                    _sample(previous, previous_valid, x, y, dx, dy, field, valid)
            continue
        left, above = np.float32(1) - right, np.float32(1) - below
        more_x, more_y = int(right > 0), int(below > 0)
        for y in range(y0, y1):
            for c in range(2):
                hop = dx if c == 0 else dy
                upper = previous[c, y + step_y, x0 + step_x : x1 + step_x + 1]
                lower = previous[c, y + step_y + 1, x0 + step_x : x1 + step_x + 1]
                row = field[c, y, x0:x1]
                for i in range(x1 - x0):
                    top = left * upper[i] + right * upper[i + 1]
                    bottom = left * lower[i] + right * lower[i + 1]
                    row[i] = hop + above * top + below * bottom
            upper_valid = previous_valid[y + step_y, x0 + step_x : x1 + step_x + 1]
            lower_valid = previous_valid[y + step_y + more_y, x0 + step_x : x1 + step_x + 1]
            row_valid = valid[y, x0:x1]
            for i in range(x1 - x0):
                row_valid[i] = (upper_valid[i] & upper_valid[i + more_x]) & (lower_valid[i] & lower_valid[i + more_x])
