"""Re-parameterisable blocks (RDRNet section III-B) and the algebra that merges one to a single convolution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.layers import ConvNormAct


class Affine(NamedTuple):
    """A convolution as numbers: kernel (Cout, Cin/groups, k, k) and bias (Cout,), float64."""

    kernel: Tensor
    bias: Tensor


class Mergeable(nn.Module, ABC):
    """A module whose inference form is another, cheaper module with the same outputs."""

    @abstractmethod
    def merged(self) -> nn.Module:
        """The inference form; this module stays as it is."""


class MergedBlock(nn.Module):
    """Inference form of `ParallelBlock`: one 3x3 convolution with bias, ReLU if `active`."""

    def __init__(self, conv: nn.Conv2d, active: bool) -> None:
        super().__init__()
        self.reparam_3x3 = conv
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h/s, w/s)."""
        x = self.reparam_3x3(x)
        return F.relu(x, inplace=True) if self.active else x


class StackedConvs(nn.Module):
    """A convolution and a 1x1 one with batch norms and nothing between them, so that they merge exactly."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(inputs, outputs, kernel, stride, active=False, bias=bias)
        self.conv2 = ConvNormAct(outputs, outputs, 1, active=False, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h/s, w/s)."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


class ParallelBlock(Mergeable):
    """Sum of paths and, where shapes allow, a batch norm; then ReLU if `active`.

    Args:
        inputs: Cin.
        outputs: Cout.
        stride: s, of every path.
        active: whether the block ends in ReLU.
        paths: `ConvNormAct` without activation or `StackedConvs` by name, of kernels 3 and 1, the first of kernel 3.
    """

    path_residual: nn.BatchNorm2d | None

    def __init__(
        self, inputs: int, outputs: int, stride: int, active: bool, **paths: ConvNormAct | StackedConvs
    ) -> None:
        super().__init__()
        self.names = tuple(paths)
        for name, path in paths.items():
            self.add_module(name, path)
        self.path_residual = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h/s, w/s)."""
        first, *others = [getattr(self, name) for name in self.names]
        out: Tensor = first(x)
        for path in others:
            out = out + path(x)
        if self.path_residual is not None:
            out = out + self.path_residual(x)
        return F.relu(out, inplace=True) if self.active else out

    def merged(self) -> MergedBlock:
        """One 3x3 convolution whose kernel and bias are the sums over the paths."""
        paths = [centred(fold(getattr(self, name))) for name in self.names]
        if self.path_residual is not None:
            identity = torch.eye(self.path_residual.num_features, dtype=torch.float64)
            identity = identity.to(self.path_residual.weight.device)[:, :, None, None]
            paths.append(centred(scaled(identity, None, self.path_residual)))
        like = next(module for module in self.modules() if isinstance(module, nn.Conv2d))
        return MergedBlock(replaced(like, summed(paths)), self.active)


class ReparamBlock(ParallelBlock):
    """RDRNet's block: a 3x3 path and a 1x1-1x1 path."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, active: bool = True) -> None:
        three = ConvNormAct(inputs, outputs, 3, stride, active=False)
        one = StackedConvs(inputs, outputs, 1, stride, bias=True)
        super().__init__(inputs, outputs, stride, active, path_3x3=three, path_1x1=one)


def scaled(kernel: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> Affine:
    """A convolution followed by the evaluation form of `norm`, as one convolution."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = norm.weight.detach().double() / torch.sqrt(var + norm.eps)
    start = torch.zeros_like(mean) if bias is None else bias.detach().double()
    kernel = kernel.detach().double() * scale[:, None, None, None]
    return Affine(kernel, norm.bias.detach().double() + scale * (start - mean))


def fold(block: ConvNormAct | StackedConvs) -> Affine:
    """Convolutions and batch norms of a block as one convolution."""
    if isinstance(block, StackedConvs):
        return compose(fold(block.conv1), fold(block.conv2))
    return scaled(block.conv.weight, block.conv.bias, block.bn)


def compose(first: Affine, second: Affine) -> Affine:
    """`second`, which is 1x1, after `first`. Without padding between them this is exact at the border too."""
    outer = second.kernel[:, :, 0, 0]
    return Affine(torch.einsum("om,mikl->oikl", outer, first.kernel), second.bias + outer @ first.bias)


def centred(numbers: Affine) -> Affine:
    """A 1x1 convolution as a 3x3 one; also right at stride 2, where both read the same centre pixel."""
    return numbers if numbers.kernel.shape[-1] == 3 else Affine(F.pad(numbers.kernel, (1, 1, 1, 1)), numbers.bias)


def summed(paths: list[Affine]) -> Affine:
    """The convolution that equals the sum of parallel ones."""
    return Affine(torch.stack([p.kernel for p in paths]).sum(0), torch.stack([p.bias for p in paths]).sum(0))


def replaced(like: nn.Conv2d, numbers: Affine) -> nn.Conv2d:
    """A convolution with bias of the geometry, device and precision of `like` that computes `numbers`."""
    conv = nn.Conv2d(
        like.in_channels,
        like.out_channels,
        like.kernel_size,  # type: ignore[arg-type]
        like.stride,  # type: ignore[arg-type]
        like.padding,  # type: ignore[arg-type]
        groups=like.groups,
    ).to(like.weight)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.copy_(numbers.kernel)
        conv.bias.copy_(numbers.bias)
    return conv
