"""Convolutions with their activations as one operator of oneDNN, on CPUs and without gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.base import FeatureNetwork
from src.models.deploy.fold_batchnorm import followed

SIZE = (64, 64)  # of the image that a network is traced with
CLIPPED = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}  # oneDNN's names and limits


def activate_in_convolutions(net: FeatureNetwork) -> None:
    """Let convolutions of `net.features` compute the activations that follow them, in place; on CPUs with oneDNN.

    oneDNN activates what it has just computed before it leaves the cache, and a pass over it in bf16 takes longer
    than most convolutions of a light network.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    names = {module: name for name, module in net.named_modules()}
    for conv, activation in followed(net, tuple(CLIPPED), features_of, SIZE):
        known = type(conv) is nn.Conv2d and type(activation) in CLIPPED
        if known and isinstance(conv.padding, tuple) and conv.padding_mode == "zeros":
            net.set_submodule(names[conv], ActivatedConv(conv, activation))
            net.set_submodule(names[activation], nn.Identity())


def features_of(net: nn.Module, image: Tensor) -> Tensor:
    """Run `features` of a network, as a function for `followed`."""
    assert isinstance(net, FeatureNetwork)
    return net.features(image)


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
