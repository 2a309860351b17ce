"""How PIDNet's three branches meet: pixel-attention-guided fusion and the boundary-guided merge."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.rdrnet.backbone import like
from src.models.rdrnet.layers import ConvNorm


class PagFM(nn.Module):
    """Pixel-attention-guided fusion: detail takes over context where both agree (PIDNet section 3.2, Pag)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.f_i = ConvNorm(channels, width, 1, active=False)
        self.f_p = ConvNorm(channels, width, 1, active=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Detail (B, C, h, w) and context (B, C, h', w') of lower resolution to (B, C, h, w)."""
        agreement = (self.f_p(detail) * like(self.f_i(context), detail)).sum(1, keepdim=True)
        return torch.lerp(detail, like(context, detail), torch.sigmoid(agreement))


class LightBag(nn.Module):
    """Boundary-attention-guided merge of the branches (PIDNet section 3.4, Light-Bag)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f_p = ConvNorm(channels, channels, 1, active=False)
        self.f_i = ConvNorm(channels, channels, 1, active=False)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Three maps (B, C, h, w) to one: detail counts at boundaries, context elsewhere."""
        edge = torch.sigmoid(boundary)
        merged: Tensor = self.f_p((1 - edge) * context + detail) + self.f_i(context + edge * detail)
        return merged
