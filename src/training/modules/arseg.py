"""Phase 2 of AR-Seg: the low branch and the fusion learn from the frozen high branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn

from src.data.batch import ClipBatch
from src.errors import check_choice, check_range
from src.losses.distillation import FEATURE_LOSSES, label_free_losses
from src.losses.segmentation import SegmentationLoss
from src.models.arseg.net import ARSeg, PairOutput
from src.models.deploy.frozen import frozen_features
from src.models.video import FrameInput
from src.training.modules.segmentation import STARTS, SegmentationModule, load_net

SCALES = "model.phases.low.module.scales"


class ARSegModule(SegmentationModule):
    """Trains low branch and fusion on (keyframe, current frame) pairs.

    The loss is feature similarity training (paper section 3.3, equation 5): segmentation loss of the fused logits
    plus mean squared error of the fused features to the high branch's features of the current frame.

    Args:
        net: both branches and the fusion.
        loss: on the fused main output and the low branch's auxiliary outputs, at label resolution.
        start_from: checkpoint of the high branch, which stays as it is.
        low_start: the low branch starts from its "own" initial weights or from the "high" branch's.
        feature_weight: factor of the mean squared error.
        unlabelled_weight: factor of `label_free_losses`, by which `src.adaptation` learns, on the pairs without labels
            of a batch, where it has some.
        scales: of the low branch's images, one of which is drawn for each step, so that `rescaled` networks work, too;
            None: that of the network alone, which is also validated.
        feature_loss: "mse", or the ablation "kl": divergence from the high branch's features, each position a
            distribution over channels by softmax. The paper names it without its form.
        low_weight: factor of the segmentation loss on the unfused low branch.
        fusion_from_epoch: until this epoch the low branch learns without keyframes.
        fusion_lr: factor of the learning rate for the fusion, which unlike the low branch starts untrained.
        base: arguments of `SegmentationModule`.

    Raises:
        UserError: a number out of its range, another `low_start`, or a checkpoint of another network.
    """

    net: ARSeg

    def __init__(
        self,
        net: ARSeg,
        loss: SegmentationLoss,
        start_from: Path,
        low_start: str,
        feature_weight: float,
        low_weight: float,
        fusion_from_epoch: int,
        fusion_lr: float,
        unlabelled_weight: float = 1.0,
        feature_loss: str = "mse",
        scales: Sequence[float] | None = None,
        **base: Any,
    ) -> None:
        super().__init__(net, **base)
        check_choice("model.low_start", low_start, STARTS)
        for key, value in (
            ("feature_weight", feature_weight),
            ("low_weight", low_weight),
            ("fusion_from_epoch", fusion_from_epoch),
            ("fusion_lr", fusion_lr),
            ("unlabelled_weight", unlabelled_weight),
        ):
            check_range(value >= 0, f"model.phases.low.module.{key}", value, "0 or more")
        numbers = scales is None or (isinstance(scales, Sequence) and all(isinstance(s, int | float) for s in scales))
        valid = numbers and all(0 < scale <= 1 for scale in scales or ())
        check_range(valid, SCALES, scales, "a list of numbers above 0, up to 1, or null")
        check_choice("model.phases.low.module.feature_loss", feature_loss, FEATURE_LOSSES)
        load_net(net.high, start_from)
        if low_start == "high":
            load_net(net.low, start_from)
        self.loss = loss
        self.high_features: Callable[[Tensor], Tensor] = net.high.features
        self.feature_loss = FEATURE_LOSSES[feature_loss]
        self.feature_weight, self.low_weight = feature_weight, low_weight
        self.fusion_from_epoch, self.fusion_lr = fusion_from_epoch, fusion_lr
        self.unlabelled_weight = unlabelled_weight
        self.scales = list(scales or [net.scale])
        self.graph_changes = fusion_from_epoch > 0

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The low branch, and the fusion at a learning rate of its own."""
        low = [p for p in self.net.low.parameters() if p.requires_grad]
        return [(low, 1.0), (list(self.net.fusion.parameters()), self.fusion_lr)]

    def on_fit_start(self) -> None:
        """Take the frozen branch in its fastest form, unless it is compiled or sharded: it computes most of a step."""
        if not self.is_compiled and not isinstance(self.trainer.strategy, FSDPStrategy):
            self.high_features = frozen_features(self.net.high)

    def training_step(self, batch: ClipBatch, index: int) -> Tensor:
        """Loss of one batch of pairs."""
        fuse = self.current_epoch >= self.fusion_from_epoch
        # the same in each process, where the one with the largest image would keep the others waiting
        scale = self.scales[int(np.random.default_rng((self.current_epoch, index)).integers(len(self.scales)))]
        pair = self._pair(batch, fuse, scale)
        losses = {
            "segmentation": self.loss(pair.logits, pair.auxiliary, batch.labels),
            "feature": self.feature_weight * self.feature_loss(pair.features, pair.target),
        }
        if self.low_weight and fuse:
            losses["low"] = self.low_weight * self.loss.main(pair.low_logits, batch.labels)
        if batch.unlabelled is not None:
            self.net.eval()  # the statistics of batch norms stay those of labelled clips
            pair = self._pair(batch.unlabelled, fuse, scale)
            terms = label_free_losses(pair.features, pair.target, *pair.coarse_logits)
            losses["unlabelled"] = self.unlabelled_weight * torch.stack(list(terms.values())).sum()
            self.net.train()
        return self.log_losses(losses)

    def _pair(self, batch: ClipBatch, fuse: bool, scale: float) -> PairOutput:
        key, current = batch.frames[:, 0], batch.frames[:, 1]
        return self.net.forward_pair(
            key,
            current,
            batch.motion,
            batch.motion_valid,
            fuse=fuse,
            high_features=self.high_features,
            scale=scale,
        )

    def predict_logits(self, batch: ClipBatch, index: int) -> Tensor:
        """Logits (B, K, H, W) of the current frames, from the keyframes before them."""
        key, current = batch.frames[:, 0], batch.frames[:, 1]
        state = self.net.advance(FrameInput(key), self.net.init_state())
        return self.net.step(FrameInput(current, batch.motion, batch.motion_valid), state)[0]
