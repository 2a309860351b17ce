"""The seam every single-frame network shares."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from src.ops.cpu.threads import is_plain_inference

FEW_CHANNELS = 32  # from about here on, torch fills its vector units as well
LARGE = 100_000  # pixels; below, starting threads takes longer than it saves


def resize(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bilinear resize of (B, C, h, w) to `size` = (H, W); the same tensor where nothing changes."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if _is_slow_in_torch(x, size):
        from src.ops.cpu.resize import enlarge  # Numba loads only where it is used

        return enlarge(x, size, align_corners)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def at_picture_size(logits: Tensor, picture: Tensor) -> Tensor:
    """Logits (B, K, H, W) for a picture (B, 3, H, W), mostly as they are.

    The official AR-Seg on Cityscapes gives those of non-keyframes at feature resolution, aligned at the corners.
    """
    return resize(logits, (int(picture.shape[-2]), int(picture.shape[-1])), align_corners=True)


def planes(logits: Tensor) -> Tensor:
    """Logits in float32, class by class in memory: how losses on whole pictures are computed, and fastest."""
    return logits.float().contiguous()


def shrink(image: Tensor, scale: float) -> Tensor:
    """(B, C, int(H * scale), int(W * scale)), low-pass filtered; the image itself at scale 1."""
    if scale == 1:
        return image
    size = (int(image.shape[-2] * scale), int(image.shape[-1] * scale))
    if is_plain_inference(image):
        from src.ops.cpu.resize import reduce

        return reduce(image, size)
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)


def _is_slow_in_torch(x: Tensor, size: tuple[int, int]) -> bool:
    """Whether x (B, C, h, w) has few channels for a large result `size`: logits on their way to picture size."""
    _, channels, height, width = x.shape
    enlarged = 2 <= height <= size[0] and 2 <= width <= size[1]
    return channels <= FEW_CHANNELS and size[0] * size[1] >= LARGE and enlarged and is_plain_inference(x)


def constant_resolution(net: nn.Module, image: Tensor, scale: float) -> Tensor:
    """Logits (B, K, H, W) at the size of the image (B, 3, H, W), of a network that sees it shrunk by `scale`."""
    height, width = image.shape[-2:]
    return resize(net(shrink(image, scale)), (height, width))


class Segmenter(nn.Module, ABC):
    """A network from one normalised RGB picture (B, 3, H, W) to logits (B, K, H, W), split at `classify`.

    The seam is what AR-Seg needs (paper section 3.2): features of two branches are fused between `encode` and
    the shared `classify`. Subclasses set the three attributes in their constructor.

    Attributes:
        feature_channels: C of the features handed to `classify`.
        feature_stride: input pixels per feature pixel.
        num_classes: K.
    """

    feature_channels: int
    feature_stride: int
    num_classes: int
    align_corners: bool = False  # of the resize from `classify` to input size

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, C, h, w) and the named intermediate tensors that `auxiliary` reads."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K, h', w') of features; one 1x1 convolution in most networks."""

    @property
    @abstractmethod
    def classifier(self) -> nn.Module:
        """The module behind `classify`, which AR-Seg shares between its branches and freezes (FST)."""

    def features(self, x: Tensor) -> Tensor:
        """Features (B, C, h, w) of a picture, without training-only work."""
        return self.encode(x)[0]

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs of the training-only heads by name: logits (B, K, h, w), or (B, K) for image-level heads."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, H, W) at input size."""
        height, width = x.shape[-2:]
        return resize(self.classify(self.features(x)), (height, width), self.align_corners)
