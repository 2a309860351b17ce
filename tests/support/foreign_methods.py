"""Video methods as a user's own package registers them: one with a memory, one that follows motion."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.models.registry import register
from src.models.video import FrameCycle, FrameInput, VideoSegmenter
from src.ops.warp import warp

NUM_CLASSES = 4


class Memory(NamedTuple):
    """Running mean of the logits (B, K, H, W), None before the first frame."""

    mean: Tensor | None


class Smoother(VideoSegmenter):
    """Averages the logits of each pixel over time; needs two frames until its past is complete."""

    method = "smoother"

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = NUM_CLASSES
        self.classify = nn.Conv2d(3, NUM_CLASSES, 3, padding=1)

    def init_state(self) -> Memory:
        """No mean."""
        return Memory(None)

    def step(self, frame: FrameInput, state: Memory) -> tuple[Tensor, Memory]:
        """Mean of the logits so far."""
        logits = self.classify(frame.image)
        mean = logits if state.mean is None else (state.mean + logits) / 2
        return mean, Memory(mean)

    def cycle(self, gop: int) -> FrameCycle:
        """One frame without a past, then frames with one."""
        return FrameCycle(("key", "nonkey", "nonkey"), ("nonkey",))


class Keyframe(NamedTuple):
    """Logits (B, K, H, W) of the latest keyframe, None before the first."""

    logits: Tensor | None


class Follower(VideoSegmenter):
    """Moves the keyframe's logits along the motion, and runs no network between keyframes."""

    method, scale, uses_motion = "follower", 0.0, True

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = NUM_CLASSES
        self.classify = nn.Conv2d(3, NUM_CLASSES, 3, padding=1)

    def init_state(self) -> Keyframe:
        """No keyframe."""
        return Keyframe(None)

    def step(self, frame: FrameInput, state: Keyframe) -> tuple[Tensor, Keyframe]:
        """Logits of a keyframe, or those of the latest one, moved."""
        if frame.motion is None:
            logits = self.classify(frame.image)
            return logits, Keyframe(logits)
        if state.logits is None:
            raise UserError("motion without a keyframe before it; begin with a keyframe")
        valid = frame.motion_valid
        valid = torch.ones_like(frame.motion[:, 0], dtype=torch.bool) if valid is None else valid
        return warp(state.logits, frame.motion, valid)[0].contiguous(), state

    def cycle(self, gop: int) -> FrameCycle:
        """A keyframe and the frames that follow it."""
        kinds = ("key", *["nonkey"] * (gop - 1))
        return FrameCycle(kinds, kinds)


register("smoother", Smoother)
register("follower", Follower)
SMOOTHER: dict[str, Any] = {"name": "smoother", "arguments": {}}
FOLLOWER: dict[str, Any] = {"name": "follower", "arguments": {}}
