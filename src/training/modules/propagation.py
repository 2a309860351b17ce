"""Training of methods that move a keyframe's features: DFF and Accel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from src.data.batch import ClipBatch
from src.losses.segmentation import SegmentationLoss
from src.models.dff.net import DFF, Accel
from src.models.video import FrameInput
from src.training.modules.segmentation import SegmentationModule, load_net


class PropagationModule(SegmentationModule):
    """Trains all of the method on (keyframe, current frame) pairs, through the moved features.

    Args:
        net: the method.
        loss: of which the main term is taken, on its logits; auxiliary heads learn in the phases before.
        start_from: checkpoint of its network.
        update_from: checkpoint of Accel's update branch; None without one.
        base: arguments of `SegmentationModule`.

    Raises:
        UserError: a checkpoint of another network.
    """

    net: DFF
    graph_changes = True  # auxiliary heads get no gradient

    def __init__(
        self, net: DFF, loss: SegmentationLoss, start_from: Path, update_from: Path | None = None, **base: Any
    ) -> None:
        super().__init__(net, **base)
        self.loss = loss
        load_net(net.net, start_from)
        if isinstance(net, Accel) and update_from is not None:
            load_net(net.update, update_from)

    def training_step(self, batch: ClipBatch, index: int) -> Tensor:
        """Loss of one batch of pairs."""
        coarse = self.net.coarse(*self._current(batch))[0]
        return self.log_losses({"segmentation": self.loss.of_main(coarse.logits, batch.labels)})

    def predict_logits(self, batch: ClipBatch, index: int) -> Tensor:
        """Logits (B, K, H, W) of the current frames, from the keyframes before them."""
        return self.net.step(*self._current(batch))[0]

    def _current(self, batch: ClipBatch) -> tuple[FrameInput, Any]:
        state = self.net.advance(FrameInput(batch.frames[:, 0]), self.net.init_state())
        return FrameInput(batch.frames[:, 1], batch.motion, batch.motion_valid), state
