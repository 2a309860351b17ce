"""AR-Seg with its fusion inside the network, in place of before the classifier (paper table 3, location of CReFF)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.models.arseg.fusion import CReFF
from src.models.arseg.net import ARSeg, PairOutput
from src.models.base import CoarseLogits, Segmenter
from src.models.dff.net import KeyframeState
from src.models.video import FrameInput, SingleFrame, VideoSegmenter


class InnerFusion(ARSeg):
    """AR-Seg whose keyframes hand on, and whose low branch fuses, what a module within the network gives.

    Behind the module the low branch works at high resolution.

    Args:
        high, low, fusion: as of `ARSeg`; the fusion is built for the module's channels.
        location: the module's name within the network, such as backbone.layer4.
        options: of `ARSeg`.
    """

    can_warp = False  # what keyframes hand on is no input of the classifier
    fuses_inside = True

    def __init__(self, high: Segmenter, low: Segmenter, fusion: CReFF, location: str, **options: Any) -> None:
        super().__init__(high, low, fusion, **options)
        self.location = location

    def advance(self, frame: FrameInput, state: KeyframeState) -> KeyframeState:
        """State after a frame: only keyframes change it."""
        return KeyframeState(self._coarse_key(frame.image)[1]) if frame.motion is None else state

    def comparisons(self) -> list[VideoSegmenter]:
        """The high branch on every frame."""
        return [SingleFrame(self.high)]

    def forward_pair(self, *pair: Any, fuse: bool = True, **options: Any) -> PairOutput:
        """Training form of one non-keyframe after its keyframe, as of `ARSeg`."""
        if not fuse:
            return super().forward_pair(*pair, fuse=False, **options)
        key_images, _, *motion = pair
        with torch.no_grad():
            key_features = self._coarse_key(key_images)[1]
        with self._fused(key_features, *motion):
            return super().forward_pair(*pair, fuse=False, **options)

    def _coarse_key(self, image: Tensor) -> tuple[CoarseLogits, Tensor]:
        found: list[Tensor] = []
        with changed(self.high.get_submodule(self.location), found.append):
            coarse, _ = super()._coarse_key(image)
        return coarse, found[-1]

    def _coarse_nonkey(
        self, low_image: Tensor, features: Tensor, motion: Tensor, motion_valid: Tensor | None
    ) -> CoarseLogits:
        with self._fused(features, motion, motion_valid):
            return CoarseLogits(self.low.classify(self.low.features(low_image)), self.low.align_corners)

    @contextmanager
    def _fused(self, features: Tensor, motion: Tensor, motion_valid: Tensor | None) -> Iterator[None]:
        def fuse(low: Tensor) -> Tensor:
            return self.fusion(low, features, motion, motion_valid)  # type: ignore[no-any-return]

        with changed(self.low.get_submodule(self.location), fuse):
            yield


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Replace the output of a module for a while; a change that returns None leaves it."""
    hook = module.register_forward_hook(lambda _module, _arguments, output: change(output))
    try:
        yield
    finally:
        hook.remove()


def channels_at(net: Segmenter, location: str) -> int:
    """Return the channels of the map (B, C, h, w) that a module of a network gives.

    Raises:
        UserError: the network has no such module, or it gives no map.
    """
    modules = dict(net.named_modules())
    if location not in modules:
        known = ", ".join(name for name in modules if name and name.count(".") < 2)
        raise UserError(f"model.fusion.location={location} is no module of the network; give one of {known}")
    found: list[Any] = []
    training, device = net.training, next(net.parameters()).device
    with torch.no_grad(), changed(modules[location], found.append):
        net.eval()(torch.zeros(1, 3, 64, 64, device=device))
    net.train(training)
    if not found or not isinstance(found[0], Tensor) or found[0].ndim != 4:
        raise UserError(f"model.fusion.location={location} gives no map of features; name another module")
    return int(found[0].shape[1])
