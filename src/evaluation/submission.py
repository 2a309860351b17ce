"""Predictions as the files that a data set's test server takes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from src.data.datasets.base import LabelledDataset
from src.errors import UserError
from src.files import atomic_write


class SubmissionFiles(Metric):
    """Write each prediction as a PNG with the official label values, in place of scoring it; counts the files.

    Args:
        folder: for the files; made where it is missing.
        source: the data set, with `server_values`.

    Raises:
        UserError: a data set without a known test server, or a folder that holds something or cannot be made.
    """

    full_state_update = False
    files: Tensor

    def __init__(self, folder: Path, source: LabelledDataset) -> None:
        super().__init__()
        if source.server_values is None:
            raise UserError("submission is for data sets with a known test server (cityscapes); leave submission out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_empty = not any(folder.iterdir())
        except OSError as error:
            raise UserError(
                f"submission '{folder}' cannot be written ({error.strerror}); give a folder that you may write to"
            ) from error
        if not is_empty:
            raise UserError(f"submission '{folder}' is not an empty folder; give another one")
        self.folder, self.source = folder, source
        self.values = np.array(source.server_values, np.uint8)
        self.add_state("files", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, name: str | None = None, video: str | None = None) -> None:
        """Write class indices (1, H, W) of the image `name`, or of the labelled frame of the clip `video`."""
        with atomic_write(self.folder / self.source.server_file(str(name or video))) as temporary:
            temporary.write_bytes(cv2.imencode(".png", self.values[preds[0].numpy()])[1].tobytes())
        self.files += 1

    def compute(self) -> Tensor:
        """Return the number of files of all processes."""
        return self.files
