"""The light Xception of DFANet, as an ImageNet classifier and as an encoder of the aggregation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from src.errors import check_choice
from src.models.layers import conv_norm_act

IMAGENET_CLASSES = 1000
STEM_CHANNELS = 8
REPEATS = (4, 6, 4)  # blocks of enc2, enc3, enc4 (paper table 1)


@dataclass(frozen=True)
class Widths:
    """Output channels of enc2, enc3, enc4 (paper table 1); inside a block they are a quarter of that."""

    enc2: int
    enc3: int
    enc4: int


XCEPTION: dict[str, Widths] = {"a": Widths(48, 96, 192), "b": Widths(32, 64, 128)}


class SeparableConv(nn.Sequential):
    """ReLU, depthwise 3x3, pointwise 1x1, batch normalisation, the order of Xception (Chollet 2017)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),  # not in place: the shortcut of the block reads the same tensor
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Block(nn.Module):
    """Three separable convolutions, the stride in the last; an identity shortcut where the shape is kept."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // 4
        self.convs = nn.Sequential(
            SeparableConv(inputs, width), SeparableConv(width, width), SeparableConv(width, outputs, stride)
        )
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, ceil(h / stride), ceil(w / stride))."""
        y: Tensor = self.convs(x)
        return x + y if self.keeps_shape else y


class Attention(nn.Module):
    """Fully connected attention (paper figure 3): pooled features, ImageNet logits, a factor per channel.

    `fc` is the ImageNet classifier itself, kept from pretraining. The figure draws no activation, so there is
    none; the bias of `gate` starts at one, so that an untrained attention passes features through.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, IMAGENET_CLASSES)
        self.gate = nn.Linear(IMAGENET_CLASSES, channels)
        nn.init.normal_(self.gate.weight, std=0.01)
        nn.init.ones_(self.gate.bias)

    def logits(self, x: Tensor) -> Tensor:
        """ImageNet logits (B, 1000) of features (B, C, h, w)."""
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, h, w), each channel scaled."""
        factors: Tensor = self.gate(self.logits(x))
        return x * factors[:, :, None, None]


@dataclass
class Levels:
    """Outputs of a backbone: its stages at 1/2, 1/4, 1/8 of its input, and enc4 after attention."""

    enc2: Tensor
    enc3: Tensor
    enc4: Tensor
    attended: Tensor


class Encoder(nn.Module):
    """Stages enc2, enc3, enc4 and the fc attention; later backbones take extra channels at each stage.

    Args:
        widths: output channels of the stages.
        inputs: input channels of the stages, more than the stage before gives where features of the previous
            backbone are concatenated (sub-stage aggregation).
        attention: false leaves the fc attention out, an ablation.
    """

    def __init__(self, widths: Widths, inputs: tuple[int, int, int], attention: bool = True) -> None:
        super().__init__()
        self.enc2 = _stage(inputs[0], widths.enc2, REPEATS[0])
        self.enc3 = _stage(inputs[1], widths.enc3, REPEATS[1])
        self.enc4 = _stage(inputs[2], widths.enc4, REPEATS[2])
        self.attention = Attention(widths.enc4) if attention else nn.Identity()

    def forward(self, x: Tensor, before: Levels | None = None) -> Levels:
        """The levels of (B, C, h, w); enc3 and enc4 of the backbone `before` join the same stages here."""
        enc2: Tensor = self.enc2(x)
        enc3: Tensor = self.enc3(enc2 if before is None else torch.cat([enc2, before.enc3], 1))
        enc4: Tensor = self.enc4(enc3 if before is None else torch.cat([enc3, before.enc4], 1))
        return Levels(enc2, enc3, enc4, self.attention(enc4))


class FirstEncoder(nn.Module):
    """The first backbone, with its stem.

    Args:
        variant: "a" or "b", the two columns of paper table 1.
        attention: of `Encoder`.

    Raises:
        UserError: another variant.
    """

    def __init__(self, variant: str, attention: bool = True) -> None:
        super().__init__()
        check_choice("network.arguments.variant", variant, XCEPTION)
        widths = XCEPTION[variant]
        self.stem = conv_norm_act(3, STEM_CHANNELS, kernel=3, stride=2)
        self.encoder = Encoder(widths, (STEM_CHANNELS, widths.enc2, widths.enc3), attention)

    def levels(self, x: Tensor) -> Levels:
        """Stages at 1/4, 1/8, 1/16 of an image (B, 3, H, W)."""
        found: Levels = self.encoder(self.stem(x))
        return found


class Xception(FirstEncoder):
    """The first backbone as the ImageNet classifier that it is pretrained as, by the logits of its attention.

    Args:
        variant: of `FirstEncoder`.
    """

    def __init__(self, variant: str) -> None:
        super().__init__(variant)

    def forward(self, x: Tensor) -> Tensor:
        """ImageNet logits (B, 1000) of normalised RGB (B, 3, H, W); `attention.gate` takes no part."""
        return cast(Attention, self.encoder.attention).logits(self.levels(x).enc4)


def _stage(inputs: int, outputs: int, repeats: int) -> nn.Sequential:
    rest = [Block(outputs, outputs, 1) for _ in range(repeats - 1)]
    return nn.Sequential(Block(inputs, outputs, 2), *rest)
