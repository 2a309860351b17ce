"""Local attention as a sum over shifted maps: any device, window and floating-point type.

One product map (B, C, H, W) lives at a time and k*k weights per pixel, never the k*k maps of `unfold`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class AttentionOptions(NamedTuple):
    """Everything but the maps that `local_attention` takes, in the order of the operator's schema; see there."""

    valid: Tensor | None
    position: Tensor | None
    window: int
    scale: float
    zero_padding: bool


def _wide(x: Tensor) -> Tensor:
    """Widen half precision to float32: 49 half-precision sums of C products lose small differences of logits."""
    return x if x.dtype == torch.float64 else x.float()


def _windows(padded: Tensor, window: int) -> Iterator[Tensor]:
    """Views (..., H, W) of a map padded by window // 2, one per tap, row by row."""
    height, width = (n - window + 1 for n in padded.shape[-2:])
    for y in range(window):
        for x in range(window):
            yield padded[..., y : y + height, x : x + width]


def _pad(x: Tensor, window: int) -> Tensor:
    return F.pad(x, (window // 2,) * 4)


def _weights(query: Tensor, key: Tensor, options: AttentionOptions) -> Tensor:
    """Softmax weights (B, window * window, H, W); `key` is padded."""
    valid, position, window, scale, zero_padding = options
    logits = scale * torch.stack([(query * keys).sum(1) for keys in _windows(key, window)], 1)
    if position is not None:
        logits = logits + position.to(logits.dtype).view(1, -1, 1, 1)
    if zero_padding and valid is None:
        return logits.softmax(1)
    if valid is None:
        valid = torch.ones_like(query[:, 0], dtype=torch.bool)
    padded = F.pad(valid, (window // 2,) * 4, value=zero_padding)
    allowed = torch.stack(list(_windows(padded, window)), 1)
    logits = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min)
    return logits.softmax(1) * allowed  # all taps excluded: the softmax is uniform, the product zero


def forward(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> Tensor:
    """Compute `local_attention`; the result is float32, or float64 for float64 input."""
    window = options.window
    query, key, value = _wide(query), _pad(_wide(key), window), _pad(_wide(value), window)
    weights = _weights(query, key, options)
    out = torch.zeros_like(query)
    for t, values in enumerate(_windows(value, window)):
        out.addcmul_(weights[:, t : t + 1], values)
    return out


def backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and position; weights are computed again rather than stored."""
    window, scale = options.window, options.scale
    gradient, query = _wide(gradient), _wide(query)
    key, value = _pad(_wide(key), window), _pad(_wide(value), window)
    weights = _weights(query, key, options)
    slopes = torch.stack([(gradient * values).sum(1) for values in _windows(value, window)], 1)
    slopes = weights * (slopes - (weights * slopes).sum(1, keepdim=True))
    d_query, d_key, d_value = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
    maps = zip(_windows(key, window), _windows(d_key, window), _windows(d_value, window), strict=True)
    for t, (keys, key_target, value_target) in enumerate(maps):
        slope = scale * slopes[:, t : t + 1]
        d_query.addcmul_(slope, keys)
        key_target.addcmul_(slope, query)
        value_target.addcmul_(weights[:, t : t + 1], gradient)
    radius = window // 2
    inner = (..., slice(radius, radius + query.shape[2]), slice(radius, radius + query.shape[3]))
    return d_query, d_key[inner], d_value[inner], slopes.sum((0, 2, 3))
