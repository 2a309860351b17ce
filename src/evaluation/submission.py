"""Predictions as the files that a data set's test server takes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from src.data.datasets.base import LabelledDataset


class SubmissionFiles(Metric):
    """Write each prediction as a PNG with the official label values, in place of scoring it; counts the files.

    Args:
        folder: for the files.
        source: the data set, with `server_values`.
    """

    full_state_update = False
    files: Tensor

    def __init__(self, folder: Path, source: LabelledDataset) -> None:
        super().__init__()
        self.folder, self.source = folder, source
        self.values = np.array(source.server_values, np.uint8)
        self.add_state("files", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, name: str | None = None, video: str | None = None) -> None:
        """Write class indices (1, H, W) of the image `name`, or of the labelled frame of the clip `video`."""
        path = self.folder / self.source.server_file(str(name or video))
        path.write_bytes(cv2.imencode(".png", self.values[preds[0].numpy()])[1].tobytes())
        self.files += 1

    def compute(self) -> Tensor:
        """Return the number of files of all processes."""
        return self.files
