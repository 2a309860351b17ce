"""From training form to inference form: on a copy, handed out only after its outputs were compared."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import nn

from src.errors import UserError
from src.models.base import Segmenter
from src.models.layers import ConvNormAct
from src.models.rdrnet.layers import Shortcut
from src.models.rdrnet.net import RDRNet
from src.models.rdrnet.reparam import Mergeable, fold, replaced, scaled

Net = TypeVar("Net", bound=Segmenter)
TOLERANCE = 1e-4  # relative to the largest logit; fp32 rounding gives about 3e-6


def deploy(net: Net, fold_batchnorm: bool = False) -> Net:
    """A copy of `net` in evaluation mode whose re-parameterisable blocks are single 3x3 convolutions.

    `net` stays as it is. To load a published deployed state dict, deploy a fresh network and load into that.

    Args:
        net: trained network; its running statistics are used.
        fold_batchnorm: also fold every batch norm that directly follows its convolution (the form for speed
            comparisons, also for DDRNet and PIDNet). Pre-activation batch norms cannot be folded and stay.

    Raises:
        UserError: nothing in `net` can be merged, for example because it is deployed already.
        RuntimeError: the outputs of the two forms differ by more than 1e-4 of the largest logit.
    """
    device = next(net.parameters()).device
    reference = deepcopy(net).cpu().eval()
    deployed = deepcopy(reference)
    if merge(deployed, fold_batchnorm) == 0:
        raise UserError(
            f"{type(net).__name__} has no block left to merge; pass the training form of a network with "
            "re-parameterisable blocks, or set fold_batchnorm"
        )
    check_equal(reference, deployed)
    return deployed.to(device)


def deployed_rdrnet(**arguments: Any) -> RDRNet:
    """Build an untrained RDRNet in inference form, to load a deployed state dict into.

    Args:
        arguments: of `RDRNet`.
    """
    net = RDRNet(**arguments).eval()
    merge(net, fold_batchnorm=False)
    return net


deployed_rdrnet.__signature__ = inspect.signature(RDRNet)  # type: ignore[attr-defined]


def merge(module: nn.Module, fold_batchnorm: bool) -> int:
    """Replace mergeable modules inside `module` in place; how many were replaced."""
    count = 0
    for name, child in module.named_children():
        merged = _inference_form(child, fold_batchnorm)
        if merged is None:
            count += merge(child, fold_batchnorm)
        else:
            setattr(module, name, merged)
            count += 1
    return count


def _inference_form(module: nn.Module, fold_batchnorm: bool) -> nn.Module | None:
    if isinstance(module, Mergeable):
        return module.merged().eval()
    if fold_batchnorm and isinstance(module, ConvNormAct):
        single = replaced(module.conv, fold(module))
        return nn.Sequential(single, nn.ReLU(inplace=True)) if module.active else single
    if fold_batchnorm and isinstance(module, Shortcut):
        conv, norm = module[0], module[1]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return replaced(conv, scaled(conv.weight, None, norm))
    return None


@torch.no_grad()
def check_equal(reference: Segmenter, deployed: Segmenter) -> None:
    """Compare both on one random image.

    Raises:
        RuntimeError: they differ by more than `TOLERANCE`, or a value is not finite.
    """
    image = torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    expected, actual = reference(image), deployed(image)
    difference = ((expected - actual).abs().max() / expected.abs().max()).item()
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"deployed {type(deployed).__name__} differs from its training form by {difference:.1e} of the "
            f"largest logit, more than {TOLERANCE:.0e}; check the batch norm statistics"
        )
