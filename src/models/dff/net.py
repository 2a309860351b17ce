"""Deep Feature Flow (Zhu et al., CVPR 2017) and Accel (Jain et al., CVPR 2019) on motion vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.models.base import CoarseLogits, Segmenter
from src.models.video import FrameCycle, FrameInput, SingleFrame, VideoSegmenter
from src.ops.resize import size_of
from src.ops.warp import motion_at, warp


class KeyframeState(NamedTuple):
    """Features (B, C, h, w) of the latest keyframe, None before the first."""

    features: Tensor | None

    def known(self) -> Tensor:
        """The features.

        Raises:
            UserError: no keyframe came yet.
        """
        if self.features is None:
            raise UserError("the first frame came with motion, but there is no keyframe yet; start with a keyframe")
        return self.features


class DFF(VideoSegmenter):
    """A network on keyframes; elsewhere their features, moved to the frame, and the classifier alone.

    The paper's flow network, which is trained with the rest and also gives a factor for each moved feature, has no
    counterpart here: the motion vectors that come with the video move the features, and nothing rescales them.

    Args:
        network: builds a `Segmenter`.

    Raises:
        UserError: a network of another kind.
    """

    method = "DFF"
    scale = 0.0
    uses_motion = True
    can_warp = True

    def __init__(self, network: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.net = _single_frame(network)
        self.num_classes = self.net.num_classes

    def init_state(self) -> KeyframeState:
        """The state before the first frame."""
        return KeyframeState(None)

    def step(self, frame: FrameInput, state: KeyframeState) -> tuple[Tensor, KeyframeState]:
        """Logits (B, K, H, W) of the next frame and the state after it; a frame without motion is a keyframe.

        Raises:
            UserError: motion for a frame that no keyframe came before.
        """
        coarse, state = self.coarse(frame, state)
        return coarse.resized(size_of(frame.image)), state

    def coarse(self, frame: FrameInput, state: KeyframeState) -> tuple[CoarseLogits, KeyframeState]:
        """Logits of the next frame at the resolution of the classifier, and the state after it."""
        state = self.advance(frame, state)
        features = state.known()
        if frame.motion is not None:
            features = self.move(features, frame.motion, frame.motion_valid)
        return CoarseLogits(self.net.classify(features), self.net.align_corners), state

    def move(self, features: Tensor, motion: Tensor, valid: Tensor | None) -> Tensor:
        """Features (B, C, h, w) of the keyframe where the motion (B, 2, H, W) in image pixels leads."""
        return warp(features, *motion_at(size_of(features), motion, valid))[0]

    def advance(self, frame: FrameInput, state: KeyframeState) -> KeyframeState:
        """State after a frame: only keyframes change it."""
        return KeyframeState(self.net.features(frame.image)) if frame.motion is None else state

    def cycle(self, gop: int) -> FrameCycle:
        """One keyframe and gop - 1 others."""
        return FrameCycle(("key", *("nonkey",) * (gop - 1)), ("key", "nonkey"))

    def comparisons(self) -> list[VideoSegmenter]:
        """The network on every frame."""
        return [SingleFrame(self.net)]


class Accel(DFF):
    """DFF as reference branch, corrected between keyframes by a light network on the frame itself.

    A 1x1 convolution joins the scores of both branches (paper section 3.2); it starts as their mean.

    Args:
        network: builds the reference branch's `Segmenter`.
        update: builds that of the update branch.

    Raises:
        UserError: a network of another kind, or branches with other numbers of classes.
    """

    method = "Accel"
    scale = 1.0
    can_warp = False

    def __init__(self, network: Callable[[], nn.Module], update: Callable[[], nn.Module]) -> None:
        super().__init__(network)
        self.update = _single_frame(update)
        classes = self.num_classes
        if self.update.num_classes != classes:
            raise UserError(
                f"the update branch has {self.update.num_classes} classes, the reference branch {classes}; "
                "give both the same"
            )
        self.fusion = nn.Conv2d(2 * classes, classes, 1)
        with torch.no_grad():
            self.fusion.weight.copy_(torch.eye(classes).repeat(1, 2)[..., None, None] / 2)
            self.fusion.bias.zero_()  # type: ignore[union-attr]

    def coarse(self, frame: FrameInput, state: KeyframeState) -> tuple[CoarseLogits, KeyframeState]:
        """Logits of the next frame at the resolution of the reference branch, and the state after it."""
        reference, state = super().coarse(frame, state)
        if frame.motion is None:
            return reference, state
        own = self.update.coarse(frame.image).resized(size_of(reference.logits))
        return reference._replace(logits=self.fusion(torch.cat([reference.logits, own], 1))), state

    def comparisons(self) -> list[VideoSegmenter]:
        """Either network on every frame, and the reference branch moved without correction."""
        return [SingleFrame(self.net), SingleFrame(self.update), DFF(lambda: self.net)]


def _single_frame(network: Callable[[], nn.Module]) -> Segmenter:
    net = network()
    if not isinstance(net, Segmenter):
        raise UserError(
            f"features are those of single-frame networks, not of a {type(net).__name__}; "
            "give network=NAME of a single-frame network, such as bisenet18"
        )
    return net
