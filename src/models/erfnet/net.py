"""ERFNet (Romera et al. 2018, "Efficient Residual Factorized ConvNet for Real-Time Semantic Segmentation")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.layers import ConvHead

DILATIONS = (2, 4, 8, 16)  # of the encoder's last eight blocks, twice
EPS = 1e-3  # of the batch norms


class ERFNet(Segmenter):
    """Encoder to stride 8 and decoder to stride 2 of factorised residual blocks (table 1).

    Features (B, 128, h/2, w/2) are the head's last activation before its 1x1 classifier, h and w those of the image
    rounded up to multiples of 8. Dropout and head, in place of the paper's last transposed convolution, are
    mmsegmentation's.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = 128, num_classes
        self.encoder = nn.Sequential(
            Downsampler(3, 16),
            Downsampler(16, 64),
            *(FactorisedBlock(64, dropout=0.1) for _ in range(5)),
            Downsampler(64, 128),
            *(FactorisedBlock(128, dilation, 0.1) for dilation in 2 * DILATIONS),
        )
        self.decoder = nn.Sequential(*_decoder_stage(128, 64), *_decoder_stage(64, 16))
        self.head = ConvHead(16, 128, 0.1)
        self.final_conv = nn.Conv2d(128, num_classes, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 2; no taps, there is no auxiliary head."""
        return self.head(self.decoder(self.encoder(x))), {}


class Downsampler(nn.Module):
    """A strided convolution beside a pooled copy of its input, normalised together."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, 2, 1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.bn = nn.BatchNorm2d(outputs, EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, ceil(h / 2), ceil(w / 2))."""
        return F.relu(self.bn(torch.cat([self.conv(x), self.pool(x)], 1)))


class FactorisedBlock(nn.Module):
    """Two 3x3 convolutions, each as 3x1 and 1x3, and a shortcut; the second is dilated (figure 2c)."""

    def __init__(self, channels: int, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *_factorised(channels, 1), nn.ReLU(inplace=True), *_factorised(channels, dilation), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return F.relu(self.convs(x) + x)


def _factorised(channels: int, dilation: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1)),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation)),
        nn.BatchNorm2d(channels, EPS),
    ]


def _decoder_stage(inputs: int, outputs: int) -> list[nn.Module]:
    up = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)
    norm = nn.BatchNorm2d(outputs, EPS)
    return [up, norm, nn.ReLU(inplace=True), FactorisedBlock(outputs), FactorisedBlock(outputs)]
