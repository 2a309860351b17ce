"""Training of single-frame networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from src.data.batch import ClipBatch
from src.errors import UserError, check_choice, check_range
from src.losses.segmentation import SegmentationLoss
from src.models.base import Segmenter
from src.models.video import FrameInput, SingleFrame
from src.ops.resize import downscale
from src.training.modules.segmentation import STARTS, SegmentationModule, load_net, load_pretrained


class ImageModule(SegmentationModule):
    """Trains a Segmenter on the last frame of each clip.

    Args:
        net: the network.
        loss: on its main and auxiliary outputs, at label resolution.
        lr_scale: images are downscaled by this factor before the network, the logits upsampled to label size; 1.0,
            or the scale of a constant low-resolution baseline.
        start: "own" initial weights, or those of the `high` branch trained before.
        start_from: checkpoint of that branch.
        pretrained: checkpoint of the same network trained on other classes, to start from; or None.
        base: arguments of `SegmentationModule`.

    Raises:
        UserError: the scale is out of range, another `start`, or a checkpoint of another network.
    """

    net: Segmenter

    def __init__(
        self,
        net: Segmenter,
        loss: SegmentationLoss,
        lr_scale: float,
        start: str = "own",
        start_from: Path | None = None,
        pretrained: str | Path | None = None,
        **base: Any,
    ) -> None:
        if not isinstance(net, Segmenter):
            raise UserError(f"a {type(net).__name__} is no single-frame network; give another network=")
        super().__init__(net, **base)
        check_choice("model.low_start", start, STARTS)
        check_range(0 < lr_scale <= 1, "lr_scale", lr_scale, "a number above 0, up to 1")
        self.loss, self.lr_scale = loss, lr_scale
        if start == "high" and start_from is not None:
            load_net(net, start_from)
        if pretrained is not None:
            load_pretrained(net, Path(pretrained))

    def training_step(self, batch: ClipBatch, index: int) -> Tensor:
        """Loss of one batch."""
        features, taps = self.net.encode(downscale(batch.frames[:, -1], self.lr_scale))
        loss = self.loss(self.net.classify(features), self.net.auxiliary(taps), batch.labels)
        return self.log_losses({"segmentation": loss})

    def predict_logits(self, batch: ClipBatch, index: int) -> Tensor:
        """Logits (B, K, H, W)."""
        return SingleFrame(self.net, self.lr_scale).step(FrameInput(batch.frames[:, -1]), None)[0]
