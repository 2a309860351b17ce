"""Merge re-parameterisable blocks into single convolutions."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from src.models.rdrnet.net import RDRNet
from src.models.rdrnet.reparam import Mergeable


def deployed_rdrnet(**arguments: Any) -> RDRNet:
    """Build an untrained RDRNet in inference form, to load a deployed state dict into.

    Args:
        arguments: of `RDRNet`.
    """
    net = RDRNet(**arguments).eval()
    merge(net)
    return net


deployed_rdrnet.__signature__ = inspect.signature(RDRNet)  # type: ignore[attr-defined]


def merge(module: nn.Module) -> int:
    """Replace every `Mergeable` inside a module in place, by its form in eval mode; returns their number."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, Mergeable):
            setattr(module, name, child.merged().eval())
            count += 1
        else:
            count += merge(child)
    return count
