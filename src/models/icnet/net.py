"""ICNet (Zhao et al. 2018, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images")."""

from __future__ import annotations

from torch import Tensor, nn

from src.models.backbones.resnet import ResNet, deep_stem_layers
from src.models.base import Segmenter
from src.models.layers import ConvHead, ConvNormAct, PyramidPooling, initialise
from src.ops.resize import resize, scaled_size, size_of


class ICNet(Segmenter):
    """A dilated ResNet on half and, from its third stage on, a quarter of the resolution (figure 2).

    Features (B, 128, H/8, W/8) are the head's last activation before its 1x1 classifier. Layers are those of
    mmsegmentation's implementation: a stem of three 3x3 convolutions, PSPNet's concatenated pyramid, activations
    before the sums.

    Args:
        num_classes: K.
        depth: of the ResNet.
        weights: ImageNet initialisation of the ResNet without its stem, see `load_backbone`.
    """

    def __init__(self, num_classes: int, depth: int = 50, weights: str = "none") -> None:
        super().__init__()
        self.feature_channels, self.num_classes = 128, num_classes
        self.resnet = ResNet(depth, "contracted", weights=weights)
        self.resnet.conv1 = deep_stem_layers(64)
        self.resnet.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)  # the last row and column count
        _, middle, _, deep = self.resnet.channels
        self.pyramid = nn.Sequential(
            PyramidPooling(deep, 512, align_corners=False), ConvNormAct(deep + 4 * 512, 512), ConvNormAct(512, 256, 1)
        )
        self.middle = ConvNormAct(middle, 256, 1)
        self.light = nn.Sequential(
            ConvNormAct(3, 32, stride=2), ConvNormAct(32, 32, stride=2), ConvNormAct(32, 64, stride=2)
        )
        self.fuse16, self.fuse8 = CascadeFusion(256, 256, 128), CascadeFusion(128, 64, 128)
        self.head = ConvHead(128, 128, 0)
        self.final_conv = nn.Conv2d(128, num_classes, 1)
        self.aux16, self.aux8 = ConvHead(128, 128, 0.1, num_classes), ConvHead(128, 128, 0.1, num_classes)
        initialise(self, but=("resnet.layer",))

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 8, and the coarser maps "x16" and "x8" of both fusions."""
        net = self.resnet
        half = net.maxpool(net.relu(net.bn1(net.conv1(resize(x, scaled_size(x, 0.5))))))
        c16 = net.layer2(net.layer1(half))
        c32 = net.layer4(net.layer3(resize(c16, scaled_size(c16, 0.5))))
        fused16, low16 = self.fuse16(self.pyramid(c32), self.middle(c16))
        fused8, low8 = self.fuse8(fused16, self.light(x))
        return self.head(fused8), {"x16": low16, "x8": low8}

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, K, h, w) of the cascade label guidance: "aux16" and "aux8", each at its stride."""
        return {"aux16": self.aux16(taps["x16"]), "aux8": self.aux8(taps["x8"])}


class CascadeFusion(nn.Module):
    """Cascade feature fusion: an enlarged map under a dilated convolution plus a projected finer map (figure 3)."""

    def __init__(self, low: int, high: int, outputs: int) -> None:
        super().__init__()
        self.conv_low, self.conv_high = ConvNormAct(low, outputs, dilation=2), ConvNormAct(high, outputs, 1)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """A map (B, low, h', w') and a finer one (B, high, h, w) to their sum and the first part of it."""
        coarse = self.conv_low(resize(low, size_of(high)))
        return coarse + self.conv_high(high), coarse
