"""The rows of an evaluation table: ways to segment the frames of one film, each a state machine over frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from src.metrics.cost import Cost, frame_cost, warp_cost
from src.models.arseg.net import ARSeg
from src.models.base import Segmenter, constant_resolution, resize


@dataclass
class Step:
    """One decoded frame on its way through the rows.

    Attributes:
        image: (1, 3, H, W) normalised.
        is_key: whether a GOP starts here.
        motion: (1, 2, H, W) pixels to the keyframe.
        motion_valid: (1, H, W) bool.
    """

    image: Tensor
    is_key: bool
    motion: Tensor
    motion_valid: Tensor


class Row(ABC):
    """A method under evaluation.

    Attributes:
        method: name in tables.
        scale: of the pictures its network sees on most frames.
    """

    method: str
    scale: float

    def key(self, step: Step) -> None:  # noqa: B027  # constant rows have no use for it
        """Take in a keyframe; called for every keyframe, scored or not."""

    @abstractmethod
    def logits(self, step: Step) -> Tensor:
        """Logits (1, K, H, W) of a scored frame; for a keyframe, after `key`."""

    @abstractmethod
    def cost(self, size: tuple[int, int], gop: int) -> Cost:
        """GMACs per frame of pictures of `size` = (height, width)."""


class Constant(Row):
    """A single-frame network on every frame, at a constant resolution."""

    def __init__(self, net: nn.Module, scale: float) -> None:
        self.method, self.net, self.scale = "constant", net, scale

    def logits(self, step: Step) -> Tensor:
        """Logits of the frame by itself."""
        return constant_resolution(self.net, step.image, self.scale)

    def cost(self, size: tuple[int, int], gop: int) -> Cost:
        """The same for every frame."""
        return frame_cost(self.net, size, gop, self.scale)


class WarpOnly(Row):
    """The keyframe's features moved by the motion vectors; no network on other frames."""

    def __init__(self, net: ARSeg) -> None:
        self.method, self.net, self.scale = "warp only", net, 0.0
        self.features: Any = None

    def key(self, step: Step) -> None:
        """Remember the features."""
        self.features = self.net.high.features(step.image)

    def logits(self, step: Step) -> Tensor:
        """Logits of the moved features."""
        return self.net.warp_only(self.features, step.motion, step.motion_valid)

    def cost(self, size: tuple[int, int], gop: int) -> Cost:
        """The classifier alone between keyframes."""
        return warp_cost(self.net, size, gop)


class AltRes(Row):
    """AR-Seg: high resolution on keyframes, low resolution and fusion on others."""

    def __init__(self, net: ARSeg) -> None:
        self.method, self.net, self.scale = "AR", net, net.lr_scale
        self.output: Any = None
        self.state = net.init_state()

    def key(self, step: Step) -> None:
        """Run the high branch."""
        self.output, self.state = self.net.step(step.image, self.state)

    def logits(self, step: Step) -> Tensor:
        """The high branch's logits on a keyframe, the fused ones elsewhere."""
        if not step.is_key:
            self.output, self.state = self.net.step(step.image, self.state, step.motion, step.motion_valid)
        output: Tensor = self.output
        return output

    def cost(self, size: tuple[int, int], gop: int) -> Cost:
        """High branch on keyframes, low branch and fusion on others."""
        return frame_cost(self.net, size, gop)


def rows_of(net: ARSeg, baseline: tuple[Segmenter, float] | None) -> list[Row]:
    """The rows of AR-Seg's table; the constant low-resolution one only where a network was trained for it."""
    rows: list[Row] = [Constant(net.high, 1.0)]
    if baseline is not None:
        rows.append(Constant(*baseline))
    return [*rows, WarpOnly(net), AltRes(net)]


@torch.inference_mode()
def predictions(rows: list[Row], step: Step, size: tuple[int, int] | None) -> list[Tensor]:
    """Class indices (1, H, W) by each row at the size of the labels; none where the frame has none (`size` is None)."""
    if step.is_key:
        for row in rows:
            row.key(step)
    return [] if size is None else [resize(row.logits(step), size).argmax(1) for row in rows]
