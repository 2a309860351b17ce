"""A TDNet of a few thousand parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.registry import register
from src.models.tdnet.net import TDNet
from src.models.tdnet.paths import SpatialNorm, SubNetwork


class TinyPath(SubNetwork):
    """A sub-network of two layers, to test what lies between paths."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.channels, self.value_channels, self.num_classes = 12, 16, num_classes
        self.backbone = nn.Sequential(nn.Conv2d(3, 12, 9, 8, 4), nn.BatchNorm2d(12), nn.ReLU())
        self.norm = SpatialNorm((5, 7))
        nn.init.normal_(self.norm.weight)
        self.head = nn.Conv2d(16, num_classes, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.backbone(x), {}


def tiny_tdnet(num_classes: int, num_paths: int) -> TDNet:
    """Untrained, with sharp attention: the norm in front of the heads removes what is uniform."""
    net = TDNet([TinyPath(num_classes) for _ in range(num_paths)], key_channels=8, subsampling=3)
    with torch.no_grad():
        for encoding in net.encodings:
            encoding.query[3].weight.mul_(8)
            encoding.key[3].weight.mul_(8)
        for projection in net.projections.values():
            projection.linear.weight.mul_(4)
    return net


register("tiny_tdnet", tiny_tdnet)
