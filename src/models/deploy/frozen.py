"""Inference-optimised copy of a frozen teacher, for training."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.deploy.fold_batchnorm import fold_batchnorms, followed

log = logging.getLogger(__name__)

SIZE = (64, 64)  # of the image that the network is traced with, and that both forms are compared on
TOLERANCE = 1e-3  # of the largest feature; fp32 rounding gives up to 1e-4 in untrained networks
CLIPPED = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}  # oneDNN's names and limits


def frozen_features(net: Segmenter) -> Callable[[Tensor], Tensor]:
    """The network's `features` without gradients, from a copy that is faster; from itself where the two differ.

    Batch norms are folded into convolutions, and on CPUs activations are computed by them, too: oneDNN activates
    what it has just computed before it leaves the cache, and a pass over it in bf16 takes longer than most convolutions
    of a light network.

    Args:
        net: in eval mode.
    """
    fast = copy.deepcopy(net).requires_grad_(False)
    fold_batchnorms(fast, _run, SIZE)
    device = next(fast.parameters()).device
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        _activate_in_convolutions(fast)
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected, actual = net.features(image), fast.features(image)
    difference = float((expected - actual).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        log.warning("the frozen %s runs as it is: its fast form differs by %.1e", type(net).__name__, difference)
        return net.features
    return fast.features


def _run(net: nn.Module, image: Tensor) -> Tensor:
    assert isinstance(net, Segmenter)
    return net.features(image)


def _activate_in_convolutions(fast: nn.Module) -> None:
    names = {module: name for name, module in fast.named_modules()}
    for conv, activation in followed(fast, tuple(CLIPPED), _run, SIZE):
        known = type(conv) is nn.Conv2d and type(activation) in CLIPPED
        if known and isinstance(conv.padding, tuple) and conv.padding_mode == "zeros":
            fast.set_submodule(names[conv], ActivatedConv(conv, activation))
            fast.set_submodule(names[activation], nn.Identity())


class ActivatedConv(nn.Module):
    """A convolution with its activation as one operator of oneDNN; on CPUs, without gradients.

    Args:
        conv: padded with zeros.
        activation: among `CLIPPED`.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.activation, self.limits = CLIPPED[type(activation)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as of the convolution, in bf16 under autocast."""
        conv = self.conv
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        bias = None if conv.bias is None else conv.bias.to(dtype)
        shape = (conv.padding, conv.stride, conv.dilation, conv.groups)
        # torch.compile uses this operator; there is no public one for a convolution with its activation.
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x.to(dtype), conv.weight.to(dtype), bias, *shape, self.activation, self.limits, ""
        )
        return out
