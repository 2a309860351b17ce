"""EfficientViT-Seg (Cai et al. 2023, "EfficientViT: Multi-Scale Linear Attention", arXiv 2205.14756)."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
from timm.layers import GELUTanh
from timm.models.efficientvit_mit import ConvNormAct, FusedMBConv, LiteMLA, MBConv, ResidualBlock
from torch import Tensor, nn

from src.errors import check_choice
from src.models.base import Segmenter
from src.models.timm_segmenter import load_encoder
from src.ops.resize import resize_bicubic, size_of

HEADS = {"b0": (32, 1), "b1": (64, 3), "b2": (96, 3), "b3": (128, 3), "l1": (256, 3), "l2": (256, 5)}  # width, blocks
EXPANSION = 4  # of the head's blocks and last layer, in the variants B
ATTENTION_EPS = 1e-15  # added to the sum of weights in the official code; timm's 1e-5 shows in the logits
NORM_EPS = 1e-7  # of batch norms in the variants L


class EfficientViTSeg(Segmenter):
    """EfficientViT-Seg for Cityscapes: timm's backbone, its levels at strides 8, 16 and 32 summed, and a light head.

    Features are (B, C, H/8, W/8), sizes rounded up, with C = 128, 256, 384, 512 of B0 to B3 and 256 of L1 and L2.
    The official head takes multiples of 32 only. Published scores resize logits by bicubic interpolation, `forward`
    and all scores here by bilinear.

    Args:
        num_classes: K.
        variant: b0 | b1 | b2 | b3 | l1 | l2.
        weights: of the backbone, "none", "imagenet" (timm's download), or the path of a state dict of timm's network.

    Raises:
        UserError: an unknown variant, or weights that cannot be read.
    """

    def __init__(self, num_classes: int, variant: str, weights: str = "none") -> None:
        super().__init__()
        check_choice("network.arguments.variant", variant, HEADS)
        encoder = f"efficientvit_{variant}"
        backbone: Any = timm.create_model(encoder, features_only=True, out_indices=(1, 2, 3))
        self.backbone: nn.Module = backbone
        self.head = SegHead(backbone.feature_info.channels(), *HEADS[variant], large=variant.startswith("l"))
        self.feature_channels, self.num_classes = self.head.channels, num_classes
        self.conv_seg = nn.Conv2d(self.feature_channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)  # official: truncated, which needs values
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, LiteMLA):
                module.eps = ATTENTION_EPS
        load_encoder(self.backbone, encoder, weights)

    @property
    def classifier(self) -> nn.Module:
        """The last 1x1 convolution."""
        return self.conv_seg

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8; no taps, this network has no training-only head."""
        return self.head(self.backbone(x)), {}


class SegHead(nn.Module):
    """1x1 convolutions of the levels to one width, their sum at the finest, and residual blocks; named as in timm.

    Args:
        inputs: channels of the levels, finest first.
        width: channels of the sum.
        blocks: number of residual blocks.
        large: of the variants L: dense blocks, and no last layer that widens.
    """

    def __init__(self, inputs: list[int], width: int, blocks: int, large: bool) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(_unit(channels, width, large, active=False) for channels in inputs)
        self.middle = nn.Sequential(*(ResidualBlock(_block(width, large), nn.Identity()) for _ in range(blocks)))
        self.channels = width if large else EXPANSION * width
        self.output = nn.Identity() if large else _unit(width, self.channels, large, active=True)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Levels (B, Ci, h_i, w_i), finest first, to (B, C, h_0, w_0)."""
        finest, *others = [unit(level) for unit, level in zip(self.inputs, levels, strict=True)]
        for level in reversed(others):
            finest = finest + resize_bicubic(level, size_of(finest))
        out: Tensor = self.output(self.middle(finest))
        return out


def _layers(large: bool) -> dict[str, Any]:
    """Batch norm and activation of a variant."""
    norm = partial(nn.BatchNorm2d, eps=NORM_EPS) if large else nn.BatchNorm2d
    return {"norm_layer": norm, "act_layer": GELUTanh if large else nn.Hardswish}


def _unit(inputs: int, outputs: int, large: bool, active: bool) -> nn.Module:
    layers = _layers(large) if active else {**_layers(large), "act_layer": None}
    unit: nn.Module = ConvNormAct(inputs, outputs, 1, **layers)
    return unit


def _block(width: int, large: bool) -> nn.Module:
    layers = _layers(large)
    norm, act = layers["norm_layer"], layers["act_layer"]
    if large:
        return FusedMBConv(width, width, expand_ratio=1, norm_layer=norm, act_layer=(act, None))
    return MBConv(width, width, expand_ratio=EXPANSION, norm_layer=norm, act_layer=(act, act, None))
