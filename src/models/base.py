"""The contract of every single-frame network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from src.ops.resize import labels_of, resize, size_of


class CoarseLogits(NamedTuple):
    """Logits at the resolution they are computed at, and how they are resized to that of the image.

    Attributes:
        logits: (B, K, h, w).
        align_corners: of their bilinear resize.
    """

    logits: Tensor
    align_corners: bool = False

    def resized(self, size: tuple[int, int]) -> Tensor:
        """Logits (B, K, *size)."""
        return resize(self.logits, size, self.align_corners)

    def labels(self, size: tuple[int, int]) -> Tensor:
        """Classes (B, *size) uint8 of the highest of the resized logits, which are not written."""
        return labels_of(self.logits, size, self.align_corners)


class FeatureNetwork(nn.Module, ABC):
    """A network from a normalised RGB image (B, 3, H, W) to logits in two parts, `features` and `classify`.

    Video methods join what they know of other frames between the two. Each part is a function of one tensor, which
    is what a backend of `src.inference.engine` runs in its place.

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, C, h, w) and the named intermediate tensors that `auxiliary` reads."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K, h', w') of features; one 1x1 convolution in most networks."""

    def features(self, x: Tensor) -> Tensor:
        """Features (B, C, h, w) of an image, without training-only work."""
        return self.encode(x)[0]

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs of the training-only heads by name: logits (B, K, h, w), or (B, K) for image-level heads."""
        return {}


class Segmenter(FeatureNetwork):
    """A network that segments a frame by itself.

    The seam between its parts is what AR-Seg needs (paper section 3.2): features of two branches are fused before
    the shared `classify`. Subclasses set the attributes in their constructor.

    Attributes:
        feature_channels: C of the features handed to `classify`.
        final_conv: from features to logits; a network with another name for it overrides `classifier`.
    """

    feature_channels: int
    final_conv: nn.Module
    align_corners: bool = False  # of the resize from `classify` to input size

    @property
    def classifier(self) -> nn.Module:
        """The module behind `classify`, which AR-Seg shares between its branches and freezes (FST)."""
        return self.final_conv

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, K, h', w') of features: those of `classifier`."""
        logits: Tensor = self.classifier(features)
        return logits

    def coarse(self, x: Tensor) -> CoarseLogits:
        """Logits (B, K, h', w') of an image, before their resize to its size."""
        return CoarseLogits(self.classify(self.features(x)), self.align_corners)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, H, W) at input size."""
        return self.coarse(x).resized(size_of(x))
