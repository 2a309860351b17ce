"""A Segmenter small enough for tests of AR-Seg."""

from __future__ import annotations

import torch
from torch import nn

from src.models.arseg.fusion import CReFF
from src.models.arseg.net import ARSeg
from src.models.base import Segmenter
from src.models.registry import register


class Tiny(Segmenter):
    def __init__(self, num_classes=5, channels=6, stride=4):
        super().__init__()
        self.feature_channels, self.num_classes = channels, num_classes
        self.body = nn.Sequential(
            nn.Conv2d(3, channels, 5, stride, 2), nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout2d(0.3)
        )
        self.head = nn.Conv2d(channels, num_classes, 1)
        self.aux = nn.Conv2d(channels, num_classes, 3, padding=1)

    @property
    def classifier(self):
        return self.head

    def encode(self, x):
        features = self.body(x)
        return features, {"body": features}

    def auxiliary(self, taps):
        return {"aux": self.aux(taps["body"])}


class GroupTiny(Tiny):
    """Images of a batch do not see each other, and nothing is random."""

    def __init__(self, num_classes=5):
        super().__init__(num_classes)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, 4, 2), nn.GroupNorm(2, 6), nn.ReLU())


register("tiny", Tiny)
register("group_tiny", GroupTiny)


def tiny_arseg(scale=0.5, legacy=None, **fusion):
    torch.manual_seed(0)
    return ARSeg(Tiny(), Tiny(), CReFF(6, legacy=legacy is not None, **fusion), scale, legacy)


def pair(batch=2, height=36, width=52):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, batch, 3, height, width, generator=generator)
    motion = 9 * torch.randn(batch, 2, height, width, generator=generator)
    valid = torch.rand(batch, height, width, generator=generator) < 0.7
    return images[0], images[1], motion, valid
