"""The contract of every single-frame network."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from src.ops.resize import resize, size_of


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
    """

    feature_channels: int
    align_corners: bool = False  # of the resize from `classify` to input size

    @property
    @abstractmethod
    def classifier(self) -> nn.Module:
        """The module behind `classify`, which AR-Seg shares between its branches and freezes (FST)."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, H, W) at input size."""
        return resize(self.classify(self.features(x)), size_of(x), self.align_corners)
