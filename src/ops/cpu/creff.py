"""Run the Numba kernel of CReFF's inference on torch tensors, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.ops.cpu import GATE_WIDTH
from src.ops.cpu import creff_kernel as kernel
from src.ops.cpu.local_attention import bias_of, padded_position, scratch
from src.ops.cpu.local_attention_kernel import RADIUS
from src.ops.cpu.simd import LANES
from src.ops.cpu.threads import parallel_for
from src.ops.cpu.tiles import Array, Tiling, aligned


class GateInput(NamedTuple):
    """Inputs of the gate for each pixel.

    Attributes:
        hidden: (B, 8, H, W), its projection of the upsampled features.
        weights: (2, 8, C) of the attended features and of their distance to the upsampled ones.
        trust: from the whole hidden layer to weights (B, 1, H, W) of the attended features.
    """

    hidden: Tensor
    weights: Tensor
    trust: Callable[[Tensor], Tensor]


def fuse(
    low: Tensor,
    key_features: Tensor,
    positions: Tensor,
    valid: Tensor,
    convolutions: tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d],
    position: Tensor | None,
    scale: float,
    gate: GateInput | None,
) -> Tensor:
    """Fuse features to (B, C, H, W), channels_last.

    Args:
        low: (B, C, h, w).
        key_features: (B, C, H, W).
        positions: (B, 2, H, W), where in the key features each pixel looks.
        valid: (B, H, W) bool; keys at false positions get no weight.
        convolutions: depthwise, of query, key and value.
        position: (49,) added to the logits; None means zero.
        scale: factor of the products.
        gate: None where there is none, and attended and upsampled features are added.
    """
    batch, channels, height, width = key_features.shape
    features, small = _pixels(key_features), _pixels(low)
    tiling = Tiling((batch, features.shape[3], height, width))
    hidden = low.new_empty(batch, 0, height, width) if gate is None else gate.hidden
    low_at = _upsampling_positions((height, width), low).numpy()
    arguments = (
        out := np.empty(features.shape, np.float32),
        seen := hidden.permute(0, 2, 3, 1).contiguous().numpy(),
        features,
        small,
        positions.contiguous().numpy(),
        low_at,
        bias_of(valid),
        tuple(_filters(conv, factor) for conv, factor in zip(convolutions, (scale, 1.0, 1.0), strict=True)),
        aligned((0, 2, GATE_WIDTH, LANES)) if gate is None else _packed(gate.weights),
        padded_position(position),
    )
    warped, raised = (kernel.SIDE, RADIUS + 1), (kernel.SIDE, 1)
    tiles = tiling.tiles(torch.get_num_threads())
    parallel_for(
        lambda part: kernel.forward(*arguments, part, (*scratch(tiling), tiling.rows(*warped), tiling.rows(*raised))),
        tiles,
    )
    if gate is not None:
        trust = gate.trust(_maps(seen))[:, 0].contiguous().numpy()
        parallel_for(lambda part: kernel.blend(out, trust, small, low_at, part, tiling.rows(*raised)), tiles)
    return _maps(out)[:, :channels]


def _pixels(x: Tensor) -> Array:
    """(B, H, W, C), C padded to whole groups of lanes."""
    pixels = x.permute(0, 2, 3, 1)
    missing = -x.shape[1] % LANES
    padded: Array = (F.pad(pixels, (0, missing)) if missing else pixels).contiguous().numpy()
    return padded


def _maps(pixels: Array) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _packed(x: Tensor) -> Array:
    """Weights (.., C) as (groups, .., LANES), on cache lines."""
    padded = F.pad(x.detach(), (0, -x.shape[-1] % LANES))
    grouped = padded.reshape(*x.shape[:-1], -1, LANES).movedim(-2, 0)
    packed = aligned(tuple(grouped.shape))
    packed[:] = grouped.numpy()
    return packed


def _filters(conv: nn.Conv2d, factor: float) -> Array:
    """(groups, 10, LANES): nine taps and the bias."""
    assert conv.bias is not None
    return _packed(factor * torch.cat([conv.weight.flatten(1), conv.bias[:, None]], 1).T)


def _upsampling_positions(size: tuple[int, int], low: Tensor) -> Tensor:
    """(B, 2, H, W), where in `low` bilinear upsampling to `size` looks, pixel centres aligned as areas."""
    y, x = (
        ((torch.arange(n) + 0.5) * (small / n) - 0.5).clamp(min=0)
        for n, small in zip(size, low.shape[-2:], strict=True)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"))
    return grid.expand(low.shape[0], -1, -1, -1).contiguous()
