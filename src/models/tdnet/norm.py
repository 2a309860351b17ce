"""The normalisation in front of TDNet's heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.base import resize


class SpatialNorm(nn.Module):
    """Normalises each channel over its positions; a map scales and another shifts each position.

    The official code's layer norm over the two spatial axes. There its maps, the same for all channels, tie a
    network to one input size; here they are resized (bilinear, corners aligned) to the features they meet.

    Args:
        size: (h, w) of the two maps; (97, 193) are the official ones, features of 769x1537 pictures.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*size))
        self.bias = nn.Parameter(torch.zeros(*size))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) of any size, normalised."""
        size = (int(x.shape[-2]), int(x.shape[-1]))
        maps = torch.stack([self.weight, self.bias])[None]
        scale, shift = resize(maps, size, align_corners=True)[0]
        out: Tensor = F.layer_norm(x, size) * scale + shift
        return out
