"""Image, label, prediction and motion of the same validation clips, drawn after each validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from torch import Tensor

from src.data.batch import ClipBatch
from src.data.labels import ClassSet
from src.errors import UserError, warns_only
from src.video.motion.draw import draw_motion
from src.video.types import MotionField

KEY = "val/pictures"


class ValidationSamples(Callback):
    """Draws clips of the first process: image, label, prediction and, where there is any, motion side by side.

    One image per validation, a row for each clip, goes to the folder `PHASE/pictures` and to the loggers that
    take images.

    Args:
        count: clips, spread evenly over validation; 0 for none.
        longest: motion in pixels that is drawn as full saturation.

    Raises:
        UserError: a negative `count`, or `longest` is not positive.
    """

    def __init__(self, count: int, longest: float) -> None:
        if count < 0 or longest <= 0:
            raise UserError(
                f"callbacks.pictures: count={count}, longest={longest}; give a count from 0 and a positive length"
            )
        self.count, self.longest = count, longest
        self._rows: list[NDArray[np.uint8]] = []

    @warns_only
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first clip of a batch that is among the chosen ones."""
        batches = int(trainer.num_val_batches[0])
        chosen = {k * batches // self.count for k in range(self.count)}
        if trainer.is_global_zero and isinstance(batch, ClipBatch) and batch_idx in chosen:
            metadata: dict[str, Any] = pl_module.metadata  # type: ignore[assignment]
            self._rows.append(draw_clip(batch, outputs, metadata, self.longest))

    @warns_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the image; rows of different widths are filled up with black."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        widest = max(row.shape[1] for row in rows)
        sheet = np.concatenate([np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows])
        folder = Path(trainer.default_root_dir) / "pictures"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"epoch_{trainer.current_epoch:04d}.png"), sheet[..., ::-1])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(KEY, sheet, trainer.global_step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image(KEY, [sheet])


def draw_clip(batch: ClipBatch, predictions: Tensor, metadata: dict[str, Any], longest: float) -> NDArray[np.uint8]:
    """Draw the first clip of a batch as one row (H, 3 W or 4 W, 3) RGB, at the size of its labels.

    Args:
        batch: on any device.
        predictions: class indices (B, H, W).
        metadata: of the module, with classes and normalisation.
        longest: see `draw_motion`.
    """
    labels, found = (_array(x[0]) for x in (batch.labels, predictions))
    mean, std = (np.asarray(metadata["normalisation"][key]) for key in ("mean", "std"))
    frame = 255 * (_array(batch.frames[0, -1]).transpose(1, 2, 0) * std + mean)
    image = np.asarray(np.clip(np.rint(frame), 0, 255), np.uint8)
    classes = ClassSet.from_dict(metadata["classes"])
    parts = [image, classes.colour(labels), classes.colour(found)]
    if bool(batch.motion[0].any()):
        motion = MotionField(_array(batch.motion[0]), _array(batch.motion_valid[0]))
        parts.append(draw_motion(image, motion, "wheel", longest))
    height, width = labels.shape
    return np.hstack([cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST) for part in parts])


def _array(values: Tensor) -> NDArray[Any]:
    return np.asarray((values.float() if values.dtype == torch.bfloat16 else values).cpu())
