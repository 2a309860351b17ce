"""A part of a network as a module of its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from src.models.base import FeatureNetwork

NAMES = ("features", "classify")

Run = Callable[[Tensor], Tensor]


class Part(nn.Module):
    """One part of a network as a module, for backends that translate modules.

    Args:
        net: whose part it is.
        name: among `NAMES`.
    """

    def __init__(self, net: FeatureNetwork, name: str) -> None:
        super().__init__()
        self.net, self.name = net, name

    def forward(self, x: Tensor) -> Tensor:
        """Output (B, C, h, w) of the part for x (B, C', h', w')."""
        out: Tensor = getattr(type(self.net), self.name)(self.net, x)  # on the instance it may be a backend's by now
        return out
