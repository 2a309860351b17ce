"""Chain block vectors to a dense motion field that leads back to the keyframe."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from src.video.motion.field_kernel import UNCOVERED, chain_pixels, extend_blocks, joined, keep_uncovered
from src.video.types import Frame, MotionField
from src.video.vectors.exported import NO_ROWS


def identity(height: int, width: int) -> MotionField:
    """The motion of a keyframe to itself: zero and valid everywhere."""
    return MotionField(np.zeros((2, height, width), np.float32), np.ones((height, width), np.bool_))


def rasterise(vectors: NDArray[np.float32], height: int, width: int) -> MotionField:
    """One hop: the dense motion of a frame to its previous frame.

    Pixels that no block covers (intra) keep their place and are invalid, and so are those whose
    source lies outside the frame. Where blocks overlap, the last one wins.
    """
    return extend(identity(height, width), vectors)


def extend(to_key: MotionField, vectors: NDArray[np.float32], into: MotionField | None = None) -> MotionField:
    """Motion to the keyframe of the frame after the one that `to_key` belongs to.

    The same as `chain(to_key, rasterise(vectors, ...))`, in one pass over the blocks: inside a block the
    displacement, and with it the bilinear weights, are constant.

    Args:
        to_key: of the frame before.
        vectors: (N, 6) as of `Frame`.
        into: a motion of the same size that is overwritten and returned, other than `to_key`; None: a new one.
    """
    if into is None:
        into = MotionField(np.empty_like(to_key.field), np.empty_like(to_key.valid))
    known, marks = to_key.valid.view(np.uint8), into.valid.view(np.uint8)
    marks.fill(UNCOVERED)
    extend_blocks(to_key.field, known, joined(np.ascontiguousarray(vectors, np.float32)), into.field, marks)
    keep_uncovered(to_key.field, into.field, marks)
    return into


def chain(to_key_of_previous: MotionField, hop: MotionField) -> MotionField:
    """Motion to the keyframe through one dense hop to the previous frame.

    field(x) = hop(x) + previous(x + hop(x)), the previous field sampled bilinearly, borders replicated.
    Valid where the hop is, where x + hop(x) lies inside the frame, and where every sample used is valid.
    """
    field, valid = np.empty_like(hop.field), np.empty_like(hop.valid)
    chain_pixels(to_key_of_previous.field, to_key_of_previous.valid, hop.field, hop.valid, field, valid)
    return MotionField(field, valid)


def warp(image: NDArray[Any], motion: MotionField, nearest: bool = False) -> NDArray[Any]:
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
    """Follow a video frame by frame and keep the motion of the latest frame to its keyframe.

    The first frame and every I frame are keyframes; `reset` makes one of any other. A frame without
    vectors that is no keyframe (its motion was lost) gets its predecessor's field, invalid everywhere.
    """

    def __init__(self) -> None:
        self._motion: MotionField | None = None

    def update(self, frame: Frame) -> MotionField:
        """Motion of `frame`, which follows the frame given before, to the latest keyframe."""
        height, width = frame.image.shape[:2]
        if self._motion is None or frame.frame_type == "I":
            self._motion = identity(height, width)
        else:
            self._motion = extend(self._motion, NO_ROWS if frame.vectors is None else frame.vectors)
        return self._motion

    def reset(self) -> None:
        """Make the next frame given a keyframe."""
        self._motion = None
