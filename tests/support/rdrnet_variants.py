"""RDRNet's published variants, their published sizes, and helpers for the tests of RDRNet and networks of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.models.base import Segmenter
from src.models.deploy.inference_form import inference_form
from src.models.rdrnet.net import RDRNet
from src.models.video import SingleFrame

SHALLOW: dict[str, Any] = {"stem_blocks": [4, 3], "semantic_blocks": [5, 5, 1], "detail_blocks": [4, 4, 1]}
DEEP: dict[str, Any] = {"stem_blocks": [6, 5], "semantic_blocks": [7, 7, 2], "detail_blocks": [6, 6, 2]}
VARIANTS: dict[str, dict[str, Any]] = {
    "s_simple": {"width": 32, "head_channels": 64, **SHALLOW},
    "s": {"width": 32, "head_channels": 128, **SHALLOW},
    "m": {"width": 64, "head_channels": 128, **SHALLOW},
    "l": {"width": 64, "head_channels": 256, **DEEP},
}
TINY: dict[str, Any] = {
    "num_classes": 5,
    "width": 8,
    "stem_blocks": [1, 1],
    "semantic_blocks": [2, 1, 2],
    "detail_blocks": [1, 2, 2],
    "head_channels": 12,
    "pooling_channels": 8,
}
TINY_GCNET: dict[str, Any] = {**TINY, "stem_blocks": [1, 2], "semantic_blocks": [2, 2, 2], "detail_blocks": [2, 1, 2]}


Net = TypeVar("Net", bound=nn.Module)


def tiny(seed: int = 0, **changes: Any) -> RDRNet:
    """A small RDRNet with running statistics that are not those of a fresh network."""
    torch.manual_seed(seed)
    return randomise_batchnorm(RDRNet(**(TINY | changes)))


def randomise_batchnorm(net: Net) -> Net:
    """Random statistics and affine parameters in every batch norm."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 1.5)
    return net


def deployed(net: Segmenter, fold: bool = False) -> nn.Module:
    """Its inference form, with or without folded batch norms."""
    return inference_form(SingleFrame(net), fold).net


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def gmacs(net: Segmenter, height: int = 1024, width: int = 2048) -> float:
    """Multiply-adds / 1e9 of the inference graph; `net` ends up on the meta device."""
    net.to("meta").eval()
    return macs(lambda x: net.classify(net.features(x)), torch.empty(1, 3, height, width, device="meta")) / 1e9


def macs(function: Callable[..., object], *arguments: Tensor) -> int:
    """Multiply-adds of matrix products, convolutions and local attention in function(*arguments)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*arguments)
    return int(counter.get_total_flops()) // 2


def relative(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def unreached(net: Segmenter, height: int = 96, width: int = 128) -> list[str]:
    """Parameters without a gradient after a training step on logits and auxiliary outputs."""
    features, taps = net.train().encode(torch.randn(2, 3, height, width))
    outputs = [net.classify(features), *net.auxiliary(taps).values()]
    torch.stack([(out * torch.randn_like(out)).sum() for out in outputs]).sum().backward()
    return [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
