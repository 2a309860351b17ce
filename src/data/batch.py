"""Batches of clips, as data loaders hand them to a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.data.images import Normalisation


@dataclass
class ClipBatch:
    """A batch of short clips, each ending at its labelled frame.

    Loaders give frames and labels as uint8, and where nothing moves motion of (B, 2, 1, 1): a third of the bytes
    to copy to a GPU. `ready` makes of that what methods get.

    Attributes:
        frames: (B, T, 3, H, W) float32, normalised RGB, oldest first. T = 1 for image networks, 2 (key,
            current) for AR-Seg, m for TDNet.
        labels: (B, H, W) int64 of the last frame, 255 = ignore.
        motion: (B, 2, H, W) float32 pixels (x, y): x_key = x + motion(x). Zero where T = 1.
        motion_valid: (B, H, W) bool, false where the chain to the keyframe passes an intra block or leaves
            the image.
        distance: (B,) int64, frames since the keyframe.
        name: one name per clip.
        unlabelled: (keyframe, current) pairs of videos without labels that are trained on beside them, or None.
    """

    frames: Tensor
    labels: Tensor
    motion: Tensor
    motion_valid: Tensor
    distance: Tensor
    name: list[str]
    unlabelled: ClipBatch | None = None

    def to(self, device: torch.device | str, non_blocking: bool | None = None) -> ClipBatch:
        """Copy the batch to `device`; Lightning calls this to move batches.

        Args:
            device: where to.
            non_blocking: do not wait for copies from page-locked memory; None: where the device is a GPU of CUDA.
        """
        waits_not = torch.device(device).type == "cuda" if non_blocking is None else non_blocking
        return self._map(lambda tensor: tensor.to(device, non_blocking=waits_not))

    def ready(self, normalisation: Normalisation) -> ClipBatch:
        """Return the batch as methods get it, computed on the device that it is on."""
        motion = self.motion.expand(-1, -1, *self.motion_valid.shape[1:]).contiguous()
        frames = normalise(self.frames, normalisation)
        others = self.unlabelled.ready(normalisation) if self.unlabelled else None
        return replace(self, frames=frames, labels=self.labels.long(), motion=motion, unlabelled=others)

    def pin_memory(self) -> ClipBatch:
        """Copy the batch to page-locked memory, for asynchronous copies to a GPU."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return ClipBatch(**{**values, "unlabelled": self.unlabelled._map(change) if self.unlabelled else None})

    def __len__(self) -> int:
        return self.frames.shape[0]


@dataclass
class Sample:
    """One clip before batching: the fields of `ClipBatch` without B, images as uint8.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB, oldest first.
        labels: (H, W) uint8, 255 = ignore.
        motion: (2, H, W) float32.
        motion_valid: (H, W) bool.
        distance: frames since the keyframe.
        name: for messages and results.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    motion: NDArray[np.float32]
    motion_valid: NDArray[np.bool_]
    distance: int
    name: str


def normalise(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Convert uint8 RGB (..., 3, H, W) to float32 of zero mean and unit variance."""
    values = (torch.tensor(v).view(3, 1, 1) for v in (normalisation.mean, normalisation.std))
    mean, std = (v.to(images.device, non_blocking=True) for v in values)
    return (images.float() / 255 - mean) / std
