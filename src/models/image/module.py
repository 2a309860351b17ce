"""Training of single-frame networks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from src.data.batch import ClipBatch
from src.losses.segmentation import SegmentationLoss
from src.models.base import Segmenter, resize, shrink
from src.models.lightning_base import SegmentationModule


class ImageModule(SegmentationModule):
    """Trains a Segmenter on the last frame of each clip.

    Args:
        net: the network.
        loss: on its main and auxiliary outputs, at label resolution.
        lr_scale: pictures are shrunk by this factor before the network, the logits enlarged to label size; 1.0,
            or the scale of a constant low-resolution baseline.
    """

    net: Segmenter

    def __init__(self, net: Segmenter, loss: SegmentationLoss, lr_scale: float, **base: Any) -> None:
        super().__init__(net, **base)
        self.loss, self.lr_scale = loss, lr_scale

    def training_step(self, batch: ClipBatch, index: int) -> Tensor:
        """Loss of one batch."""
        features, taps = self.net.encode(shrink(batch.frames[:, -1], self.lr_scale))
        loss = self.loss(self.net.classify(features), self.net.auxiliary(taps), batch.labels)
        return self.log_losses({"segmentation": loss})

    def predict_logits(self, batch: ClipBatch) -> Tensor:
        """Logits (B, K, H, W)."""
        return constant_resolution(self.net, batch.frames[:, -1], self.lr_scale)


def constant_resolution(net: nn.Module, image: Tensor, scale: float) -> Tensor:
    """Logits (B, K, H, W) at the size of the image (B, 3, H, W), of a network that sees it shrunk by `scale`."""
    height, width = image.shape[-2:]
    return resize(net(shrink(image, scale)), (height, width))
