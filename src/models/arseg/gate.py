"""The learned gate of CReFF: how far to trust the keyframe, per pixel; not in the paper, which adds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.base import resize

GATE_WIDTH = 8
SIGNS = 3  # that `signs` gives
GATE_START = 1.5  # logit of the gate before training: 0.82 of the keyframe's feature


class Gate(nn.Module):
    """Weight in 0..1 of the attended feature, from both features, their distance, and what motion tells.

    Args:
        channels: C of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(channels, GATE_WIDTH, 1)
        self.attended = nn.Conv2d(channels, GATE_WIDTH, 1, bias=False)
        self.difference = nn.Conv2d(channels, GATE_WIDTH, 1, bias=False)
        self.score = nn.Conv2d(GATE_WIDTH + SIGNS, 1, 3, padding=1)
        nn.init.zeros_(self.score.weight)
        nn.init.constant_(self.score.bias, GATE_START)  # type: ignore[arg-type]

    def project(self, low: Tensor, size: tuple[int, int]) -> Tensor:
        """The part of the hidden layer (B, 8, *size) that low-resolution features (B, C, h, w) give.

        A 1x1 convolution and bilinear upsampling commute, so it is computed before upsampling.
        """
        return resize(self.low(low), size)

    def compare(self, low_up: Tensor, attended: Tensor) -> Tensor:
        """The part of the hidden layer that the attended features and their distance to the upsampled ones give."""
        seen: Tensor = self.attended(attended) + self.difference((attended - low_up).abs())
        return seen

    @property
    def comparison(self) -> Tensor:
        """The weights (2, 8, C) of `compare`."""
        return torch.stack([self.attended.weight, self.difference.weight]).flatten(2)

    def forward(self, hidden: Tensor, signs: Tensor) -> Tensor:
        """Weights (B, 1, H, W) from the hidden layer (B, 8, H, W) and the `signs` (B, 3, H, W) of motion."""
        trust: Tensor = torch.sigmoid(self.score(torch.cat([F.relu(hidden), signs.to(hidden.dtype)], 1)))
        return trust


def signs(motion: Tensor, valid: Tensor) -> Tensor:
    """Whether motion can be trusted: (B, 3, H, W), from motion (B, 2, H, W) in feature pixels and `valid` (B, H, W).

    Validity as 0 or 1; log(1 + length), as errors add up along the way; and the same of the motion's difference to
    its surroundings, which is large where one thing covers another.
    """
    around = F.avg_pool2d(motion, 3, stride=1, padding=1, count_include_pad=False)
    lengths = [torch.log1p(torch.hypot(x[:, 0], x[:, 1])) for x in (motion, motion - around)]
    return torch.stack([valid.to(motion.dtype), *lengths], 1)
