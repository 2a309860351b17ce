"""The rows of an evaluation table: ways to segment the frames of one film, each a state machine over frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from src.metrics.cost import Cost, frame_cost, warp_cost
from src.metrics.stream_cost import inference_cost
from src.models.arseg.net import ARSeg
from src.models.base import Segmenter
from src.models.tdnet.net import TDNet
from src.models.video import at_picture_size, constant_resolution
from src.ops.resize import resize


@dataclass
class Step:
    """One decoded frame on its way through the rows.

    Attributes:
        image: (1, 3, H, W) normalised.
        index: frames since the start of the film.
        is_key: whether a GOP starts here.
        motion: (1, 2, H, W) pixels to the keyframe.
        motion_valid: (1, H, W) bool.
    """

    image: Tensor
    index: int
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

    def observe(self, step: Step) -> None:  # noqa: B027  # constant rows have no use for it
        """Take in a frame; called for every frame of a film in order, scored or not."""

    @abstractmethod
    def logits(self, step: Step) -> Tensor:
        """Logits (1, K, H, W) of a scored frame, after `observe`."""

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

    def observe(self, step: Step) -> None:
        """Remember a keyframe's features."""
        if step.is_key:
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

    def observe(self, step: Step) -> None:
        """Run the high branch on a keyframe."""
        if step.is_key:
            self.output, self.state = self.net.step(step.image, self.state)

    def logits(self, step: Step) -> Tensor:
        """The high branch's logits on a keyframe, the fused ones elsewhere."""
        if not step.is_key:
            self.output, self.state = self.net.step(step.image, self.state, step.motion, step.motion_valid)
        return at_picture_size(self.output, step.image)

    def cost(self, size: tuple[int, int], gop: int) -> Cost:
        """High branch on keyframes, low branch and fusion on others."""
        return frame_cost(self.net, size, gop)


class Propagated(Row):
    """TDNet: paths that take turns and hand on what they saw."""

    def __init__(self, net: TDNet) -> None:
        self.method, self.net, self.scale = "TDNet", net, 1.0
        self.output: Any = None
        self.state = net.init_state()

    def observe(self, step: Step) -> None:
        """Run the next path; the first of a film without past."""
        state = self.state if step.index else self.net.init_state()
        self.output, self.state = self.net.step(step.image, state)

    def logits(self, step: Step) -> Tensor:
        """The fused logits."""
        output: Tensor = self.output
        return output

    def cost(self, size: tuple[int, int], gop: int) -> Cost:
        """Once all paths have contributed, every frame costs the same."""
        steady = inference_cost(self.net, size, gop).gmacs_amortised
        return Cost(steady, steady, *size, gop)


class OwnPath(Row):
    """TDNet's paths in turn, each by itself: what propagation adds is the difference to it."""

    def __init__(self, net: TDNet) -> None:
        self.method, self.net, self.scale = "own path", net, 1.0

    def logits(self, step: Step) -> Tensor:
        """Logits of the path that TDNet runs on the same frame."""
        return self.net.alone(step.image, step.index % self.net.num_paths)

    def cost(self, size: tuple[int, int], gop: int) -> Cost:
        """That of a frame without past."""
        first = inference_cost(self.net, size, gop).gmacs_key
        return Cost(first, first, *size, gop)


def rows_of(net: nn.Module, scale: float, baseline: tuple[Segmenter, float] | None) -> list[Row]:
    """The rows of a network's table.

    Args:
        net: any network of ours.
        scale: by which it sees pictures shrunk, if it is a single-frame network.
        baseline: a single-frame network to compare with and its scale: AR-Seg's at constant low resolution, TDNet's
            teacher.
    """
    given: list[Row] = [] if baseline is None else [Constant(*baseline)]
    if isinstance(net, ARSeg):
        return [Constant(net.high, 1.0), *given, WarpOnly(net), AltRes(net)]
    if isinstance(net, TDNet):
        return [*given, OwnPath(net), Propagated(net)]
    return [Constant(net, scale), *given]


@torch.inference_mode()
def predictions(rows: list[Row], step: Step, size: tuple[int, int] | None) -> list[Tensor]:
    """Class indices (1, H, W) by each row at the size of the labels; none where the frame has none (`size` is None)."""
    for row in rows:
        row.observe(step)
    return [] if size is None else [resize(row.logits(step), size).argmax(1) for row in rows]
