"""RDRNet (Yang et al. 2024, "Reparameterizable Dual-Resolution Network for Real-time Segmentation")."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.layers import initialise
from src.models.rdrnet.backbone import rdrnet_backbone
from src.models.rdrnet.layers import NormConv
from src.models.rdrnet.pooling import build_pooling


class BranchSegmenter(Segmenter):
    """A body of several branches and its head: features are what the last 1x1 convolution takes, at stride 8.

    Args:
        backbone: images to the merged map (B, 4c, H/8, W/8) and the taps of the head.
        head: its main part is the classifier, its auxiliary part is for training only.
    """

    def __init__(self, backbone: nn.Module, head: Head) -> None:
        super().__init__()
        self.feature_channels = head.conv_seg.in_channels
        self.num_classes = head.conv_seg.out_channels
        self.backbone = backbone
        self.decode_head = head

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, C, H/8, W/8), sizes rounded up, and the backbone's taps."""
        merged, taps = self.backbone(x)
        return self.decode_head.head(merged), taps

    @property
    def classifier(self) -> nn.Module:
        """The 1x1 convolution."""
        return self.decode_head.conv_seg

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits "aux" (B, K, H/8, W/8) of the detail branch after the first fusion."""
        return self.decode_head.auxiliary(taps)


class RDRNet(BranchSegmenter):
    """RDRNet in training form; `src.models.deploy.inference_form` gives the inference form.

    Parameter names are those of the official state dicts. The four published variants differ in `width`,
    block counts and `head_channels` only; the last three arguments are the ablations of the paper's figure 8.

    Args:
        num_classes: K.
        width: c, 32 (S-Simple, S) or 64 (M, L).
        stem_blocks: stride-1 blocks of stages 2 and 3.
        semantic_blocks: stride-1 blocks of stages 4 and 5, bottlenecks of stage 6.
        detail_blocks: the same of the detail branch.
        head_channels: C of the features.
        pooling_channels: width of each scale of the pyramid pooling.
        pooling: none | ppm | dappm | pappm | rppm.
        fusion_1: bilateral fusion after stage 4.
        fusion_2: bilateral fusion after stage 5.

    Raises:
        UserError: `pooling` is none of the five.
    """

    def __init__(
        self,
        num_classes: int,
        width: int,
        stem_blocks: Sequence[int],
        semantic_blocks: Sequence[int],
        detail_blocks: Sequence[int],
        head_channels: int,
        pooling_channels: int = 128,
        pooling: str = "rppm",
        fusion_1: bool = True,
        fusion_2: bool = True,
    ) -> None:
        pyramid = build_pooling(pooling, 16 * width, pooling_channels, 4 * width)
        backbone = rdrnet_backbone(width, stem_blocks, semantic_blocks, detail_blocks, pyramid, fusion_1, fusion_2)
        super().__init__(backbone, Head(4 * width, 2 * width, head_channels, num_classes))


class Head(nn.Module):
    """Main and auxiliary head; each ends in a 1x1 convolution to classes.

    Args:
        inputs: channels 4c of the merged branches.
        auxiliary_inputs: channels 2c of the detail branch after fusion 1.
        channels: width of either head, and of the features before the classifier.
        num_classes: K.
    """

    def __init__(self, inputs: int, auxiliary_inputs: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.head = HeadFeatures(inputs, channels)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.aux_head = HeadFeatures(auxiliary_inputs, channels)
        self.aux_cls_seg = nn.Conv2d(channels, num_classes, 1)
        initialise(self)

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits "aux" (B, K, h, w) of the tap "detail" (B, 2c, h, w)."""
        return {"aux": self.aux_cls_seg(self.aux_head(taps["detail"]))}


class HeadFeatures(nn.Sequential):
    """Batch norm -> ReLU -> 3x3 convolution -> batch norm -> ReLU: (B, Cin, h, w) to (B, C, h, w)."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(NormConv(inputs, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
