"""From torch tensors to the tiles of the Numba kernel of CReFF's inference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.arseg import fusion_kernel as kernel
from src.models.arseg.fusion import GATE_WIDTH
from src.models.arseg.local_attention_cpu import bias_of, padded_position, scratch
from src.models.arseg.local_attention_kernel import RADIUS
from src.models.arseg.tiles import Array, Tiling, aligned
from src.models.cpu import share
from src.models.lanes import LANES


class GateInput(NamedTuple):
    """What a gate needs of each pixel.

    Attributes:
        hidden: (B, 8, H, W), its projection of the upsampled features.
        weights: (2, 8, C) of the attended features and of their distance to the upsampled ones.
    """

    hidden: Tensor
    weights: Tensor


def attend(
    low: Tensor,
    key_features: Tensor,
    positions: Tensor,
    valid: Tensor,
    convolutions: tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d],
    position: Tensor | None,
    scale: float,
    gate: GateInput | None,
) -> tuple[Tensor, Tensor]:
    """Attended features (B, C, H, W); without a gate, the upsampled ones added to them.

    Args:
        low: (B, C, h, w).
        key_features: (B, C, H, W).
        positions: (B, 2, H, W), where in the key features each pixel looks.
        valid: (B, H, W) bool; keys at false positions get no weight.
        convolutions: depthwise, of query, key and value.
        position: (49,) added to the logits; None means zero.
        scale: factor of the products.
        gate: None where there is none.

    Returns:
        The features, and the gate's hidden layer (B, 8, H, W), or (B, 0, H, W), both channels_last.
    """
    batch, channels, height, width = key_features.shape
    features, small = _pixels(key_features), _pixels(low)
    tiling = Tiling((batch, features.shape[3], height, width))
    hidden = low.new_empty(batch, 0, height, width) if gate is None else gate.hidden
    arguments = (
        out := np.empty(features.shape, np.float32),
        seen := hidden.permute(0, 2, 3, 1).contiguous().numpy(),
        features,
        small,
        positions.contiguous().numpy(),
        _upsampling_positions((height, width), low).numpy(),
        bias_of(valid),
        tuple(_filters(conv, factor) for conv, factor in zip(convolutions, (scale, 1.0, 1.0), strict=True)),
        aligned((0, 2, GATE_WIDTH, LANES)) if gate is None else _packed(gate.weights),
        padded_position(position),
    )
    rows = (kernel.SIDE, RADIUS + 1), (kernel.SIDE, 1)  # of the warped and of the upsampled map
    share(
        lambda part: kernel.forward(*arguments, part, (*scratch(tiling), *(tiling.rows(*size) for size in rows))),
        tiling.tiles(torch.get_num_threads()),
    )
    return _maps(out)[:, :channels], _maps(seen)


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
