"""ResNet (He et al. 2016) with the strides and dilations that segmentation networks use.

Parameter names are torchvision's, so ImageNet weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.models.backbones.checkpointing import recomputed
from src.models.backbones.imagenet import load_backbone
from src.models.layers import conv_norm_act, initialise

Dilations = tuple[int, int]  # of the first and of the second 3x3 convolution of a block

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

# Form -> dilations of block `i` in stage 3 and in stage 4. All forms but "none" keep stride 8.
FORMS: dict[str, Callable[[int, int], Dilations]] = {
    "none": lambda stage, i: (1, 1),
    # ICNet in mmsegmentation: the first convolution of each block, half as far in the first block.
    "contracted": lambda stage, i: (2 ** (stage - 2) // (2 if i == 0 else 1), 1),
    # AR-Seg on CamVid: every block but the first.
    "later_blocks": lambda stage, i: (1, 1) if i == 0 else (2 ** (stage - 2),) * 2,
    # AR-Seg on Cityscapes: as above, and the second convolution of the first block.
    "second_convs": lambda stage, i: (1 if i == 0 else 2 ** (stage - 2), 2 ** (stage - 2)),
    # TDNet: stage 4 follows the grid 4, 8, 16.
    "multigrid": lambda stage, i: (1 if i == 0 else 2, 2) if stage == 3 else (4 * 2**i, 4),
}


class ResNet(nn.Module):
    """The four stages of a ResNet without its ImageNet classifier.

    Args:
        depth: 18, 34, 50 or 101.
        dilation: "none" (strides 4, 8, 16, 32) or one of the stride-8 forms "contracted", "later_blocks",
            "second_convs" and "multigrid"; a bottleneck's only 3x3 convolution takes the first of a block's two
            dilations.
        deep_stem: three 3x3 convolutions to 128 channels in place of one 7x7 to 64 (PSPNet, section 5.1).
        weights: see `load_backbone`.
        recompute: training keeps the inputs of blocks only and computes the rest again for the gradients.
    """

    def __init__(
        self,
        depth: int,
        dilation: str = "none",
        deep_stem: bool = False,
        weights: str = "none",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.depth, self.deep_stem, self.recompute = depth, deep_stem, recompute
        width = 128 if deep_stem else 64
        self.conv1 = deep_stem_layers(width) if deep_stem else nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        block = BasicBlock if depth < 50 else Bottleneck
        self.channels = tuple(block.expansion * planes for planes in (64, 128, 256, 512))
        inputs = (width, *self.channels[:3])
        stride = 2 if dilation == "none" else 1
        stages = [
            _stage(block, inputs[n], 64 * 2**n, (1, 2, stride, stride)[n], _dilations(depth, dilation, n))
            for n in range(4)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        initialise(self)
        load_backbone(self, depth, deep_stem, weights)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outputs of the four stages of an image (B, 3, H, W)."""
        maps, x = [], self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = self._run(stage, x)
            maps.append(x)
        c1, c2, c3, c4 = maps
        return c1, c2, c3, c4

    def _run(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            result: Tensor = stage(x)
            return result
        for block in stage:
            x = recomputed(block, x)
        return x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, dilations: Dilations) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, first, first, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, second, second, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, planes, h / stride, w / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.relu(out + (x if self.downsample is None else self.downsample(x)))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution and a shortcut; the 3x3 carries the stride."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, dilations: Dilations) -> None:
        super().__init__()
        dilation = dilations[0]
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, 4 * planes, h / stride, w / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        result: Tensor = self.relu(out + (x if self.downsample is None else self.downsample(x)))
        return result


def _dilations(depth: int, form: str, stage: int) -> list[Dilations]:
    """One pair per block of the 0-based stage; the first two stages are never dilated."""
    count = BLOCKS[depth][stage]
    return [FORMS[form](stage + 1, i) if stage > 1 else (1, 1) for i in range(count)]


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    planes: int,
    stride: int,
    dilations: list[Dilations],
) -> nn.Sequential:
    outputs = planes * block.expansion
    return nn.Sequential(
        block(inputs, planes, stride, dilations[0]), *(block(outputs, planes, 1, d) for d in dilations[1:])
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return conv_norm_act(inputs, outputs, stride=stride)


def deep_stem_layers(outputs: int) -> nn.Sequential:
    """Three 3x3 convolutions from an image to `outputs` channels at stride 2, the last without its batch norm."""
    half = outputs // 2
    return nn.Sequential(
        *conv_norm_act(3, half, 3, 2, nn.ReLU(inplace=True)),
        *conv_norm_act(half, half, 3, 1, nn.ReLU(inplace=True)),
        nn.Conv2d(half, outputs, 3, 1, 1, bias=False),
    )
