"""The two PSPNets of the AR-Seg and TDNet papers (Zhao et al. 2017 on a dilated ResNet)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.backbones.resnet import ResNet
from src.models.base import Segmenter
from src.models.layers import ConvHead, PyramidPooling
from src.ops.resize import resize


class PSPNet(Segmenter):
    """PSPNet at stride 8: AR-Seg's network for Cityscapes and TDNet's teachers.

    Features (B, head_channels, H/8, W/8) are the head's last activation before its 1x1 classifier.

    Args:
        num_classes: K.
        depth: of the ResNet.
        dilation: form of the ResNet, "second_convs" in AR-Seg and "multigrid" in TDNet.
        deep_stem: of the ResNet; TDNet's depths 50 and 101 have it.
        head_channels: width of the 3x3 convolution after the pyramid.
        aux_channels: width of the training-only head on the third stage; None leaves the head out.
        dropout: probability of dropping a feature channel in training.
        weights: ImageNet initialisation of the ResNet, see `load_backbone`.
        recompute: less memory for more time in training, see `ResNet`.
    """

    align_corners = True

    def __init__(
        self,
        num_classes: int,
        depth: int = 18,
        dilation: str = "second_convs",
        deep_stem: bool = False,
        head_channels: int = 512,
        aux_channels: int | None = 256,
        dropout: float = 0.1,
        weights: str = "none",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = head_channels, num_classes
        self.backbone = ResNet(depth, dilation, deep_stem, weights, recompute)
        *_, middle, deep = self.backbone.channels
        self.pyramid = PyramidPooling(deep, deep // 4)
        self.head = ConvHead(2 * deep, head_channels, dropout)
        self.final_conv = nn.Conv2d(head_channels, num_classes, 1)
        self.aux = None if aux_channels is None else ConvHead(middle, aux_channels, dropout, num_classes)

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8, and the third stage's map for the auxiliary head."""
        *_, c3, c4 = self.backbone(x)
        return self.head(self.pyramid(c4)), {"layer3": c3}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, H/8, W/8) as "aux"."""
        return {} if self.aux is None else {"aux": self.aux(taps["layer3"])}


class PSPNetFull(Segmenter):
    """PSPNet with a decoder to full resolution: AR-Seg's network for CamVid.

    Features (B, 64, H, W) are the decoder's output; half of the network's cost lies in this decoder. H and W
    that are not multiples of 8 give features of the next multiple.

    Args:
        num_classes: K.
        depth: of the ResNet.
        dilation: form of the ResNet.
        weights: ImageNet initialisation of the ResNet, see `load_backbone`.
    """

    align_corners = True

    def __init__(
        self, num_classes: int, depth: int = 18, dilation: str = "later_blocks", weights: str = "none"
    ) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = 64, num_classes
        self.backbone = ResNet(depth, dilation, weights=weights)
        *_, middle, deep = self.backbone.channels
        self.pyramid = PyramidPooling(deep, deep, norm=False, align_corners=False)
        self.bottleneck = nn.Conv2d(5 * deep, 1024, 1)
        self.decoder = nn.Sequential(nn.Dropout2d(0.3), UpStage(1024, 256), UpStage(256, 64), UpStage(64, 64))
        self.final_conv = nn.Conv2d(64, num_classes, 1)
        self.presence = nn.Sequential(nn.Linear(middle, 256), nn.ReLU(inplace=True), nn.Linear(256, num_classes))

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 1, and the third stage's map for the presence head."""
        *_, c3, c4 = self.backbone(x)
        context = torch.cat([*self.pyramid.branches(c4), c4], dim=1)
        return self.decoder(F.relu(self.bottleneck(context))), {"layer3": c3}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K) of each class occurring anywhere in the image, as "presence"."""
        return {"presence": self.presence(taps["layer3"].amax(dim=(2, 3)))}


class UpStage(nn.Module):
    """Bilinear upsampling by two, a 3x3 convolution, batch norm, PReLU and channel dropout."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.PReLU())
        self.dropout = nn.Dropout2d(0.15)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, 2h, 2w)."""
        height, width = x.shape[-2:]
        out: Tensor = self.dropout(self.conv(resize(x, (2 * height, 2 * width))))
        return out
