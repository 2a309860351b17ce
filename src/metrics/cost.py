"""Multiply-adds and parameters of inference, counted on the graph that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from src.models.arseg.net import ARSeg, State
from src.models.video import constant_resolution


@dataclass(frozen=True)
class Cost:
    """GMACs per frame (one multiply-add = 1) of pictures of height x width, in GOPs of `gop` frames."""

    key: float
    nonkey: float
    height: int
    width: int
    gop: int

    @property
    def amortised(self) -> float:
        """Mean over a GOP."""
        return (self.key + (self.gop - 1) * self.nonkey) / self.gop


def count_macs(function: Callable[..., object], *arguments: object) -> int:
    """Multiply-adds of matrix products, convolutions and local attention in function(*arguments).

    Nothing is computed: tensors are replaced by their shapes. As in all FLOP counts of torch, elementwise work,
    resizing and warping are not counted.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        shapes = [fake.from_tensor(a) if isinstance(a, Tensor) else a for a in arguments]
        with FlopCounterMode(display=False) as counter:
            function(*shapes)
    flops: int = counter.get_total_flops()
    return flops // 2


def frame_cost(net: nn.Module, size: tuple[int, int], gop: int = 1, scale: float = 1.0) -> Cost:
    """Cost of AR-Seg, or of a network that sees every frame alone, shrunk by `scale`; without training-only heads."""
    height, width = size
    image = _picture(net, size)
    with _inference(net):
        if isinstance(net, ARSeg):
            key = count_macs(net.key, image)
            nonkey = count_macs(lambda x, m: net.step(x, _state(net, x), m), image, image[:, :2])
            nonkey -= count_macs(lambda x: _state(net, x), image)
        else:
            key = nonkey = count_macs(lambda x: constant_resolution(net, x, scale), image)
    return Cost(key / 1e9, nonkey / 1e9, height, width, gop)


def warp_cost(net: ARSeg, size: tuple[int, int], gop: int) -> Cost:
    """Cost of AR-Seg's keyframes with `warp_only` between them: the classifier is all that runs there."""
    height, width = size
    image = _picture(net, size)
    with _inference(net):
        features = count_macs(net.high.features, image)
        nonkey = count_macs(lambda x, m: net.warp_only(net.high.features(x), m), image, image[:, :2]) - features
        key = count_macs(net.key, image)
    return Cost(key / 1e9, nonkey / 1e9, height, width, gop)


def count_parameters(net: nn.Module, size: tuple[int, int] = (64, 64)) -> tuple[int, int]:
    """Parameters in all, and those of the modules that inference on pictures of `size` runs.

    Shared parameters count once. A module counts when it is called, so training-only heads do not.
    """
    used: dict[int, int] = {}

    def note(module: nn.Module, _: object) -> None:
        used.update({id(p): p.numel() for p in module.parameters(recurse=False)})

    hooks = [module.register_forward_pre_hook(note) for module in net.modules()]
    try:
        frame_cost(net, size)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(p.numel() for p in net.parameters()), sum(used.values())


def _picture(net: nn.Module, size: tuple[int, int]) -> Tensor:
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    return torch.empty(1, 3, *size, device=device)


def _state(net: ARSeg, image: Tensor) -> State:
    return State(net.high.features(image))


@contextmanager
def _inference(net: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every module gets its own mode back."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
