"""A part of a network as a module of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.models.base import FeatureNetwork

NAMES = ("features", "classify")

Run = Callable[[Tensor], Tensor]


class Part(nn.Module):
    """One part of a network as a module, for backends that translate modules.

    Args:
        net: whose part it is.
        name: among `NAMES`.
        taken, given: types of its input and its output on a backend; inside, the backend decides.
    """

    def __init__(
        self,
        net: FeatureNetwork,
        name: str,
        taken: torch.dtype = torch.float32,
        given: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.net, self.name, self.taken, self.given = net, name, taken, given

    def forward(self, x: Tensor) -> Tensor:
        """Output (B, C, h, w) of the part for x (B, C', h', w')."""
        out: Tensor = getattr(type(self.net), self.name)(self.net, x)  # on the instance it may be a backend's by now
        return out
