"""Pyramid poolings at 1/64 resolution: PPM, DAPPM, PAPPM and RDRNet's RPPM."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import check_choice
from src.models.layers import ConvNormAct, PyramidPooling
from src.models.rdrnet.layers import NormConv
from src.models.rdrnet.reparam import Mergeable, fold, replaced, summed
from src.ops.resize import resize, size_of

POOLS = ((5, 2, 2), (9, 4, 4), (17, 8, 8))  # kernel, stride, padding of the average poolings


class PPM(nn.Module):
    """PSPNet's pyramid pooling and a pre-activation 1x1 convolution to `outputs` channels.

    The RDRNet paper compares with "PPM" without details. This reading takes the four grids of PSPNet, each with
    as many channels as a scale of the other poolings.
    """

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(inputs, width, bins=(1, 2, 3, 6), align_corners=False)
        self.compression = NormConv(inputs + 4 * width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h, w)."""
        out: Tensor = self.compression(self.pyramid(x))
        return out


class _Aggregation(nn.Module):
    """Base of DAPPM, PAPPM and RPPM: five scales, a shortcut, and compression of `process`'s maps."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        pools: list[nn.Module] = [nn.AvgPool2d(*pool) for pool in POOLS]
        pools.append(nn.AdaptiveAvgPool2d(1))
        pooled = [nn.Sequential(pool, NormConv(inputs, width, 1)) for pool in pools]
        self.scales = nn.ModuleList([NormConv(inputs, width, 1), *pooled])
        self.compression = NormConv(5 * width, outputs, 1)
        self.shortcut = NormConv(inputs, outputs, 1)

    def process(self, finest: Tensor, pooled: list[Tensor]) -> Tensor:
        """Five maps (B, width, h, w) to (B, 5 width, h, w), the finest first."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h, w)."""
        finest = self.scales[0](x)
        pooled = [resize(scale(x), size_of(finest)) for scale in self.scales[1:]]
        out: Tensor = self.compression(self.process(finest, pooled)) + self.shortcut(x)
        return out


class DAPPM(_Aggregation):
    """Deep aggregation pyramid pooling: the scales are refined one after the other (DDRNet section III-C)."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__(inputs, width, outputs)
        self.processes = nn.ModuleList(NormConv(width, width, 3) for _ in range(4))

    def process(self, finest: Tensor, pooled: list[Tensor]) -> Tensor:
        """Each scale is added to the refined next finer one before its own 3x3."""
        maps = [finest]
        for refine, scale in zip(self.processes, pooled, strict=True):
            maps.append(refine(scale + maps[-1]))
        return torch.cat(maps, 1)


class _Parallel(_Aggregation):
    """Every pooled scale is added to the finest one only, so one grouped convolution serves them all."""

    processes: nn.Module

    def process(self, finest: Tensor, pooled: list[Tensor]) -> Tensor:
        """The finest scale beside the processed sums."""
        return torch.cat([finest, self.processes(torch.cat([scale + finest for scale in pooled], 1))], 1)


class PAPPM(_Parallel):
    """Parallel aggregation pyramid pooling: one grouped 3x3 over all scales (PIDNet section 3.3)."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__(inputs, width, outputs)
        self.processes = NormConv(4 * width, 4 * width, 3, groups=4)


class GroupedPair(Mergeable):
    """Batch norm -> ReLU -> two parallel grouped 3x3 convolutions, each with its batch norm, summed."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.parallel1 = ConvNormAct(channels, channels, 3, active=False, groups=groups)
        self.parallel2 = ConvNormAct(channels, channels, 3, active=False, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        x = F.relu(self.norm(x), inplace=True)
        out: Tensor = self.parallel1(x) + self.parallel2(x)
        return out

    def merged(self) -> MergedPair:
        """One grouped convolution with bias behind the same batch norm and ReLU."""
        numbers = summed([fold(self.parallel1), fold(self.parallel2)])
        return MergedPair(self.norm, replaced(self.parallel1.conv, numbers))


class MergedPair(nn.Module):
    """Inference form of `GroupedPair`."""

    def __init__(self, norm: nn.BatchNorm2d, conv: nn.Conv2d) -> None:
        super().__init__()
        self.norm = norm
        self.reparam_parallel = conv

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        out: Tensor = self.reparam_parallel(F.relu(self.norm(x), inplace=True))
        return out


class RPPM(_Parallel):
    """PAPPM with two parallel grouped 3x3 in training, one when deployed (RDRNet section III-C)."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__(inputs, width, outputs)
        self.processes = GroupedPair(4 * width, groups=4)


class NoPooling(nn.Module):
    """RDRNet without pyramid pooling: one pre-activation 1x1 convolution from 16c to 4c channels.

    The paper's "None" leaves open how the widths are matched; this reading keeps the shortcut of the other
    poolings and nothing else.
    """

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = NormConv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h, w)."""
        out: Tensor = self.shortcut(x)
        return out


POOLINGS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "none": NoPooling,
    "ppm": PPM,
    "dappm": DAPPM,
    "pappm": PAPPM,
    "rppm": RPPM,
}


def build_pooling(name: str, inputs: int, width: int, outputs: int) -> nn.Module:
    """The pooling `name` from `inputs` to `outputs` channels with `width` channels a scale.

    Raises:
        UserError: `name` is none of them.
    """
    check_choice("network.arguments.pooling", name, POOLINGS)
    return POOLINGS[name](inputs, width, outputs)
