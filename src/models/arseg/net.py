"""AR-Seg: one architecture at two resolutions, fused before a shared classifier (Hu et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import UserError, check_range
from src.models.arseg.fusion import CReFF
from src.models.base import CoarseLogits, Segmenter
from src.models.dff.net import DFF, KeyframeState
from src.models.video import FrameCycle, FrameInput, SingleFrame, VideoSegmenter
from src.ops import cpu
from src.ops.resize import downscale, resize, scaled_size, size_of, to_float_nchw


@dataclass
class PairOutput:
    """Results of a training pair; logits are computed where they are asked for.

    Attributes:
        features: (B, C, h, w) of the current frame, at the size of the high branch's features.
        low_features: the same before fusion.
        target: (B, C, h, w), the frozen high branch's features of the current frame.
        auxiliary: outputs of the low branch's training-only heads.
        size: (H, W) of the images.
        branch: whose classifier `features` are for.
        teacher: the high branch.
    """

    features: Tensor
    low_features: Tensor
    target: Tensor
    auxiliary: dict[str, Tensor]
    size: tuple[int, int]
    branch: Segmenter
    teacher: Segmenter

    @property
    def logits(self) -> Tensor:
        """Logits (B, K, H, W) of the current frame."""
        return self._decode(self.features)

    @property
    def low_logits(self) -> Tensor:
        """Logits (B, K, H, W) of `low_features`."""
        return self._decode(self.low_features)

    @property
    def coarse_logits(self) -> tuple[Tensor, Tensor]:
        """Logits (B, K, h', w') of the current frame and of the target, before their resize to image size."""
        with torch.no_grad():
            target = self.teacher.classify(self.target)
        return self.branch.classify(self.features), target

    def _decode(self, features: Tensor) -> Tensor:
        return resize(to_float_nchw(self.branch.classify(features)), self.size, self.branch.align_corners)


class ARSeg(VideoSegmenter):
    """High resolution on keyframes, low resolution and `fusion` on the frames between.

    The high branch is trained beforehand: here it is frozen and stays in eval mode. The low branch's classifier
    is replaced by the high branch's, as one module under both names: its parameters count once, and each branch
    loads the state dict of a Segmenter of its own.

    Args:
        high: network for keyframes, and teacher.
        low: network for other frames, of the same architecture.
        fusion: joins the features of both.
        lr_scale: of images in the low branch, in 0..1.
        legacy: None, or the outputs of the official code, for its weights: "logits", "log_probabilities"
            (CamVid PSPNet), or "coarse_logits" (Cityscapes PSPNet: non-keyframes at feature resolution). The low
            branch then also gets unfiltered images, resized by the corner-aligned convention.
        share_classifier: false leaves the low branch its own, which is trained: an ablation.

    Raises:
        UserError: the scale is out of range, or the fusion is made for other features.
    """

    method = "AR"
    uses_motion = True
    can_warp = True
    can_rescale = True
    fuses_inside = False  # the network, in place of before its classifier

    def __init__(
        self,
        high: Segmenter,
        low: Segmenter,
        fusion: CReFF,
        lr_scale: float = 0.5,
        legacy: Literal["logits", "log_probabilities", "coarse_logits"] | None = None,
        share_classifier: bool = True,
    ) -> None:
        super().__init__()
        check_range(0 < lr_scale <= 1, "model.lr_scale", lr_scale, "a number above 0, up to 1")
        if not self.fuses_inside and low.feature_channels != fusion.channels:
            raise UserError(
                f"the network's features have {low.feature_channels} channels, the fusion is built for "
                f"{fusion.channels}; build it for those of the features"
            )
        self.high, self.low, self.fusion = high.requires_grad_(False), low, fusion
        self.scale, self.legacy = lr_scale, legacy
        self.num_classes = high.num_classes
        self.share_classifier = share_classifier
        if share_classifier:
            _share_classifier(high, low)
        self.train(self.training)

    def train(self, mode: bool = True) -> ARSeg:
        """Training mode for low branch and fusion only."""
        super().train(mode)
        self.high.eval()
        return self

    @property
    def joins_bfloat16(self) -> bool:
        """Whether features in bfloat16 go through CReFF: its CPU kernel takes them."""
        return self.fusion.has_kernel and next(self.parameters()).device.type == "cpu" and cpu.enabled

    def key(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, K, H, W) of a keyframe (B, 3, H, W), and the features that later frames use."""
        coarse, features = self._coarse_key(image)
        return self._output(coarse.resized(size_of(image))), features

    def nonkey(self, low_image: Tensor, features: Tensor, motion: Tensor, motion_valid: Tensor | None = None) -> Tensor:
        """Output (B, K, H, W) of a frame between keyframes.

        Args:
            low_image: (B, 3, int(H * scale), int(W * scale)).
            features: of the keyframe, from `key`.
            motion: (B, 2, H, W) in image pixels, x_key = x + motion(x).
            motion_valid: (B, H, W) bool; None means all valid.
        """
        coarse = self._coarse_nonkey(low_image, features, motion, motion_valid)
        return coarse.logits if self.legacy == "coarse_logits" else self._output(coarse.resized(size_of(motion)))

    def init_state(self) -> KeyframeState:
        """The state before the first frame."""
        return KeyframeState(None)

    def step(self, frame: FrameInput, state: KeyframeState) -> tuple[Tensor, KeyframeState]:
        """Output (B, K, H, W) of the next frame and the state after it; a frame without motion is a keyframe.

        Raises:
            UserError: motion for a frame that no keyframe came before.
        """
        if frame.motion is None:
            output, features = self.key(frame.image)
            return output, KeyframeState(features)
        if frame.warp_only:
            return self._output(self._coarse_warped(frame, state).resized(size_of(frame.image))), state
        features = state.known()
        output = self.nonkey(self.shrink(frame.image), features, frame.motion, frame.motion_valid)
        # the official network for Cityscapes leaves non-keyframes at feature resolution, aligned at the corners
        return resize(output, size_of(frame.image), align_corners=True), state

    def coarse(self, frame: FrameInput, state: KeyframeState) -> tuple[CoarseLogits, KeyframeState]:
        """Logits of the next frame at the resolution of the classifier, and the state after it.

        Outputs of the official code are more than that, and come from `step`.
        """
        if self.legacy is not None:
            return super().coarse(frame, state)
        if frame.motion is None:
            coarse, features = self._coarse_key(frame.image)
            return coarse, KeyframeState(features)
        if frame.warp_only:
            return self._coarse_warped(frame, state), state
        features = state.known()
        return self._coarse_nonkey(self.shrink(frame.image), features, frame.motion, frame.motion_valid), state

    def advance(self, frame: FrameInput, state: KeyframeState) -> KeyframeState:
        """State after a frame: only keyframes change it."""
        return KeyframeState(self.high.features(frame.image)) if frame.motion is None else state

    def cycle(self, gop: int) -> FrameCycle:
        """One keyframe and gop - 1 others."""
        return FrameCycle(("key", *("nonkey",) * (gop - 1)), ("key", "nonkey"))

    def comparisons(self) -> list[VideoSegmenter]:
        """The high branch on every frame, and its features warped without a network on the frames between."""
        return [SingleFrame(self.high), WarpOnly(self)]

    def shrink(self, image: Tensor, scale: float | None = None) -> Tensor:
        """Downscale an image to (B, 3, int(H * scale), int(W * scale)), the input of the low branch.

        Args:
            image: (B, 3, H, W).
            scale: in (0, 1]; None: that of the method.
        """
        scale = scale or self.scale
        if self.legacy is None:
            return downscale(image, scale)
        return resize(image, scaled_size(image, scale), align_corners=True)

    def forward_pair(
        self,
        key_images: Tensor,
        images: Tensor,
        motion: Tensor,
        motion_valid: Tensor | None,
        *,
        fuse: bool = True,
        high_features: Callable[[Tensor], Tensor] | None = None,
        scale: float | None = None,
    ) -> PairOutput:
        """Training form of one non-keyframe after its keyframe.

        Args:
            key_images, images: (B, 3, H, W).
            motion, motion_valid: as of `nonkey`.
            fuse: false lets the low branch work alone, as in the first stage of the official recipe.
            high_features: a faster form of the high branch; None: the branch itself.
            scale: of `shrink`.
        """
        of_high = high_features or self.high.features
        with torch.no_grad():
            target = of_high(images)
            key_features = of_high(key_images) if fuse else None
        size = int(images.shape[-2]), int(images.shape[-1])
        low, taps = self.low.encode(self.shrink(images, scale))
        low_features = resize(low, (target.shape[-2], target.shape[-1]), self.fusion.legacy)
        features = low_features
        if key_features is not None:
            features = self.fusion(low, key_features, motion, motion_valid)

        branch = self.high if self.share_classifier else self.low
        return PairOutput(features, low_features, target, self.low.auxiliary(taps), size, branch, self.high)

    def _coarse_key(self, image: Tensor) -> tuple[CoarseLogits, Tensor]:
        features = self.high.features(image)
        return CoarseLogits(self.high.classify(features), self.high.align_corners), features

    def _coarse_nonkey(
        self, low_image: Tensor, features: Tensor, motion: Tensor, motion_valid: Tensor | None
    ) -> CoarseLogits:
        fused = self.fusion(self.low.features(low_image), features, motion, motion_valid)
        return CoarseLogits(self.low.classify(fused), self.low.align_corners)

    def _coarse_warped(self, frame: FrameInput, state: KeyframeState) -> CoarseLogits:
        assert frame.motion is not None
        features, _ = self.fusion.move(state.known(), frame.motion, frame.motion_valid)
        return CoarseLogits(self.high.classify(features), self.high.align_corners)

    def _output(self, logits: Tensor) -> Tensor:
        return F.log_softmax(logits, 1) if self.legacy == "log_probabilities" else logits


class WarpOnly(DFF):
    """AR-Seg's high branch on keyframes; elsewhere its features moved by the motion, and the classifier.

    Args:
        net: whose high branch and warp are used.
    """

    method = "warp only"

    def __init__(self, net: ARSeg) -> None:
        super().__init__(lambda: net.high)
        self.fusion = net.fusion

    def move(self, features: Tensor, motion: Tensor, valid: Tensor | None) -> Tensor:
        """Features of the keyframe, moved as AR-Seg moves them."""
        return self.fusion.move(features, motion, valid)[0]


def _share_classifier(high: Segmenter, low: Segmenter) -> None:
    """Put the high branch's classifier in the place of the low branch's."""
    replaced = low.classifier
    for name, module in list(low.named_modules(remove_duplicate=False)):
        if module is replaced:
            low.set_submodule(name, high.classifier)
