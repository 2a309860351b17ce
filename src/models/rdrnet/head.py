"""The segmentation head of RDRNet, DDRNet and PIDNet, with its training-only twin on the detail branch."""

from __future__ import annotations

from torch import Tensor, nn

from src.models.rdrnet.layers import NormConv, initialise


class HeadFeatures(nn.Sequential):
    """Batch norm -> ReLU -> 3x3 convolution -> batch norm -> ReLU: (B, Cin, h, w) to (B, C, h, w)."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(NormConv(inputs, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


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
        initialise(self, zero_bias=False)

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits "aux" (B, K, h, w) of the tap "detail" (B, 2c, h, w)."""
        return {"aux": self.aux_cls_seg(self.aux_head(taps["detail"]))}
