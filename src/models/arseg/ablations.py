"""Forms of the fusion that AR-Seg's paper compares CReFF with (table 3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.arseg.fusion import CReFF

REDUCTION = 32  # of the sides of the keyframe's features in global attention


class GlobalAttention(CReFF):
    """CReFF whose pixels attend to the whole keyframe, averaged over squares of 32x32 features.

    Args:
        options: of `CReFF`; the window is not used.
    """

    def __init__(self, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)
        self.has_kernel = False

    def forward(self, low: Tensor, key_features: Tensor, motion: Tensor, motion_valid: Tensor | None = None) -> Tensor:
        """Fused features (B, C, H, W), arguments as of `CReFF`."""
        low_up, warped, valid = self._aligned(low, key_features, motion, motion_valid)
        query = self.query(low_up)
        key, value = (_squares(convolve(warped)).flatten(2).mT[:, None] for convolve in (self.key, self.value))
        weight = torch.log(_squares(valid) + 1e-6).flatten(2)[:, :, None]  # squares without motion get next to none
        positions = query.flatten(2).mT[:, None]
        attended = F.scaled_dot_product_attention(positions, key, value, weight.to(query.dtype), scale=self.scale)
        return low_up + attended[:, 0].mT.reshape(query.shape)


class Concatenation(CReFF):
    """Both features concatenated and convolved (3x3) in place of attention.

    Args:
        channels: C of the features.
        options: of `CReFF`; only `warp` is used.
    """

    def __init__(self, channels: int, *options: Any, **named: Any) -> None:
        super().__init__(channels, *options, **named)
        self.has_kernel = False
        del self.query, self.key, self.value
        self.join = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, low: Tensor, key_features: Tensor, motion: Tensor, motion_valid: Tensor | None = None) -> Tensor:
        """Fused features (B, C, H, W), arguments as of `CReFF`."""
        low_up, warped, valid = self._aligned(low, key_features, motion, motion_valid)
        fused: Tensor = self.join(torch.cat([low_up, warped * valid], 1))
        return fused


def _squares(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, REDUCTION, ceil_mode=True, count_include_pad=False)
