"""Merge re-parameterisable blocks into single convolutions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from src.models.gcnet.net import GCNet
from src.models.rdrnet.net import RDRNet
from src.models.rdrnet.reparam import Mergeable

Net = TypeVar("Net", bound=nn.Module)


def deployed(network: type[Net]) -> Callable[..., Net]:
    """Return what builds an untrained network in inference form, to load a deployed state dict into."""

    def build(**arguments: Any) -> Net:
        net = network(**arguments).eval()
        merge(net)
        return net

    build.__signature__ = inspect.signature(network)  # type: ignore[attr-defined]
    return build


deployed_rdrnet = deployed(RDRNet)
deployed_gcnet = deployed(GCNet)


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
