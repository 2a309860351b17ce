"""Convolution blocks and residual blocks of RDRNet, DDRNet and PIDNet, named as in official state dicts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from src.models.layers import ConvNormAct, conv_norm_act


class NormConv(nn.Module):
    """Batch norm -> ReLU -> convolution ("pre-activation"), as in the pyramid poolings and heads."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h, w)."""
        out: Tensor = self.conv(F.relu(self.bn(x), inplace=True))
        return out


class Shortcut(nn.Sequential):
    """1x1 convolution -> batch norm on the shortcut of a block that changes width or stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(*conv_norm_act(inputs, outputs, stride=stride))


class ResidualBlock(nn.Module):
    """Base of both residual blocks: shortcut, sum, and the ReLU that a stage's last block leaves out."""

    def __init__(self, inputs: int, outputs: int, stride: int, active: bool) -> None:
        super().__init__()
        changes = stride != 1 or inputs != outputs
        self.downsample = Shortcut(inputs, outputs, stride) if changes else nn.Identity()
        self.active = active

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """Shortcut of `x` plus `residual`, both (B, Cout, h, w) after the shortcut."""
        out = residual + self.downsample(x)
        return F.relu(out, inplace=True) if self.active else out


class ResidualBasicBlock(ResidualBlock):
    """Two 3x3 convolutions with a shortcut (DDRNet, PIDNet)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, active: bool = True) -> None:
        super().__init__(inputs, outputs, stride, active)
        self.conv1 = ConvNormAct(inputs, outputs, 3, stride)
        self.conv2 = ConvNormAct(outputs, outputs, 3, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h/s, w/s)."""
        return self.add(x, self.conv2(self.conv1(x)))


class ResidualBottleneck(ResidualBlock):
    """1x1 -> 3x3 -> 1x1 with expansion 2 and no final ReLU, also between two of them (official code)."""

    expansion = 2

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__(inputs, width * self.expansion, stride, active=False)
        self.conv1 = ConvNormAct(inputs, width, 1)
        self.conv2 = ConvNormAct(width, width, 3, stride)
        self.conv3 = ConvNormAct(width, width * self.expansion, 1, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, 2 width, h/s, w/s)."""
        return self.add(x, self.conv3(self.conv2(self.conv1(x))))


def bottlenecks(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """A stage of `blocks` bottlenecks of output width 2 `width`, the first with `stride`."""
    later = [ResidualBottleneck(width * ResidualBottleneck.expansion, width) for _ in range(blocks - 1)]
    return nn.Sequential(ResidualBottleneck(inputs, width, stride), *later)


def basic_blocks(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """A stage of basic blocks, the first with `stride`, the last without its ReLU (the caller applies it)."""
    entry = ResidualBasicBlock(inputs, outputs, stride, active=blocks > 1)
    later = [ResidualBasicBlock(outputs, outputs, active=i < blocks - 1) for i in range(1, blocks)]
    return nn.Sequential(entry, *later)


def set_batchnorm(module: nn.Module, momentum: float, eps: float) -> None:
    """Give every batch norm inside `module` these constants."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum, layer.eps = momentum, eps
