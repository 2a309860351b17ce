"""Pretraining of a backbone as a classifier of images."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from src.data.datasets.class_folders import NO_LABEL
from src.errors import UserError
from src.training.modules.base import TrainingModule


class ClassifierModule(TrainingModule):
    """Trains a network from images (B, 3, H, W) to logits (B, K) with cross-entropy.

    Args:
        net: the network; K may exceed the number of classes of the data set.
        outputs: K.
        label_smoothing: of the targets, in 0..1.
        class_names: names of the data set's classes.
        base: arguments of `TrainingModule`.

    Raises:
        UserError: more classes than outputs.
    """

    def __init__(
        self, net: nn.Module, outputs: int, label_smoothing: float, class_names: list[str], **base: Any
    ) -> None:
        if hasattr(net, "num_classes"):
            raise UserError(f"a {type(net).__name__} labels pixels; give network=xception_a, or model=image")
        super().__init__(net, **base)
        if len(class_names) > outputs:
            raise UserError(f"the data set has {len(class_names)} classes, the network {outputs} outputs; use fewer")
        self.label_smoothing = label_smoothing
        self.top1 = MulticlassAccuracy(outputs, average="micro", ignore_index=NO_LABEL)
        self.top5 = MulticlassAccuracy(outputs, top_k=5, average="micro", ignore_index=NO_LABEL)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Loss of one batch."""
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels, label_smoothing=self.label_smoothing)
        return self.log_losses({"classification": loss})

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Count correct predictions; logged as val/top1 and val/top5 over the whole split."""
        logits = self.net(batch[0])
        for name, metric in (("val/top1", self.top1), ("val/top5", self.top5)):
            metric(logits, batch[1])
            self.log(name, metric, on_step=False, on_epoch=True)
