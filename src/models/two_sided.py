"""A frame between two keyframes, seen from both of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from src.models.base import CoarseLogits
from src.models.video import FrameInput, VideoSegmenter
from src.ops.resize import average, size_of
from src.ops.warp import motion_at, warp

TOLERANCE = 0.04  # of brightness, beyond which a moved keyframe is taken for something else
LEAST = 1e-4  # weight where a keyframe shows nothing of the frame: one of both has to be believed


class Side(NamedTuple):
    """A keyframe, before or after the frame.

    Attributes:
        frame: the frame, with its motion to this keyframe.
        state: of the method, after the keyframe.
        brightness: (B, 1, H, W) of the keyframe's image, 0..1.
        nearness: 0..1, of both sides 1 together.
    """

    frame: FrameInput
    state: Any
    brightness: Tensor
    nearness: float


def coarse_between(net: VideoSegmenter, brightness: Tensor, sides: Sequence[Side]) -> CoarseLogits:
    """Class probabilities (B, K, h, w) of a frame, the mean of those that each keyframe gives it by motion alone.

    What a keyframe says of a place counts by its nearness in time, by how much of the place has valid motion, and by
    how well the moved keyframe looks like the frame there, as in the choice of references of bidirectional coding.

    Args:
        net: of a kind that has `can_warp`.
        brightness: (B, 1, H, W) of the frame, 0..1.
        sides: its keyframes.
    """
    seen = [net.coarse(side.frame._replace(warp_only=True), side.state)[0] for side in sides]
    size = size_of(seen[0].logits)
    beliefs = [_belief(side, brightness, size) for side in sides]
    weighted = [belief * one.logits.float().softmax(1) for belief, one in zip(beliefs, seen, strict=True)]
    return CoarseLogits(torch.stack(weighted).sum(0) / torch.stack(beliefs).sum(0), seen[0].align_corners)


def _belief(side: Side, brightness: Tensor, size: tuple[int, int]) -> Tensor:
    """Weight (B, 1, h, w) of what a keyframe says."""
    motion, valid = side.frame.motion, side.frame.motion_valid
    assert motion is not None
    moved, _ = warp(average(side.brightness, size), *motion_at(size, motion, valid))
    difference = F.avg_pool2d((moved - average(brightness, size)).abs(), 3, 1, 1, count_include_pad=False)
    known = 1.0 if valid is None else average(valid[:, None].to(difference.dtype), size)
    return side.nearness * (known * (-difference / TOLERANCE).exp() + LEAST)
