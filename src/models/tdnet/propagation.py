"""Attention propagation: what TDNet keeps of past frames, and how it reaches the current one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class TDNetState(NamedTuple):
    """State of B streams between frames; all tensors are at the subsampled resolution.

    Neither values nor maps depend on the path that reads them, so they are computed once. The propagated
    value (v' in the paper) does: its projection belongs to a pair of paths, no later frame can reuse it.

    Attributes:
        path: index of the path that the next frame runs.
        key: (B, P, key channels) of the last frame; None before the first.
        values: (B, P, value channels) of up to m - 1 last frames, oldest first.
        maps: (B, P, P) attention of each of these frames to the one before it, without the oldest frame's.
    """

    path: int
    key: Tensor | None
    values: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]


class AttentionEncoding(nn.Module):
    """Query, key and value of a path's features (the paper's encoding).

    Query and key have one normalised layer more than the value, which makes them independent of the features.
    """

    def __init__(self, inputs: int, key_channels: int, value_channels: int) -> None:
        super().__init__()
        self.query = _projection(inputs, key_channels)
        self.key = _projection(inputs, key_channels)
        self.value = nn.Conv2d(inputs, value_channels, 1)


def subsample(x: Tensor, stride: int) -> Tensor:
    """Every `stride`-th row and column of (B, C, h, w), (B, C, ceil(h / stride), ceil(w / stride))."""
    return x[:, :, ::stride, ::stride]


def tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) as (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2)


def attention_map(query: Tensor, key: Tensor) -> Tensor:
    """Softmax over source positions: (B, Q, C) and (B, P, C) give (B, Q, P)."""
    scores = query @ key.transpose(1, 2)
    return torch.softmax(scores / query.shape[-1] ** 0.5, dim=-1)


class AttentionProjection(nn.Module):
    """Projection that one path applies to the values gathered from one other: phi in the paper.

    Args:
        channels: of the values.
        dropout: on the attention in front of it and on its output, in training.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, attention: Tensor, values: Tensor) -> Tensor:
        """Values (B, P, C) gathered by a map (B, Q, P) and projected, (B, Q, C)."""
        gathered = self.dropout(attention) @ values
        out: Tensor = self.dropout(self.linear(gathered))
        return out


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(),
        nn.Conv2d(outputs, outputs, 1),
    )
