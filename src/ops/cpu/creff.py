"""Run the Numba kernel of CReFF's inference on torch tensors, tile by tile."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from src.ops.cpu import GATE_WIDTH
from src.ops.cpu import creff_kernel as kernel
from src.ops.cpu.amx import BLOCK, configuration, has_tiles
from src.ops.cpu.creff_tiles import KEYS
from src.ops.cpu.local_attention import bias_of, padded_position, scratch
from src.ops.cpu.local_attention_kernel import RADIUS
from src.ops.cpu.resize import strips
from src.ops.cpu.simd import LANES, ROW, WINDOW
from src.ops.cpu.threads import as_array, as_tensor, parallel_for
from src.ops.cpu.tiles import Array, Tiling, aligned


class GateInput(NamedTuple):
    """Motion by whose reliability the gate decides, and its weights.

    Attributes:
        motion: (B, 2, H, W) in feature pixels.
        hidden: (3, 8, C), from upsampled features, attended ones and their distance to the hidden layer.
        hidden_bias: (8,).
        score: (1, 8 + 3, 3, 3), from the hidden layer and the cues to the logit of the attended features' weight.
        score_bias: (1,).
    """

    motion: Tensor
    hidden: Tensor
    hidden_bias: Tensor
    score: Tensor
    score_bias: Tensor


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
    """Fuse features to (B, C, H, W) in the dtype of `low`, channels_last.

    Args:
        low: (B, C, h, w), float32 or bfloat16.
        key_features: (B, C, H, W), float32 or bfloat16.
        positions: (B, 2, H, W), where in the key features each pixel looks.
        valid: (B, H, W) bool; keys at false positions get no weight.
        convolutions: depthwise, of query, key and value.
        position: (49,) added to the logits; None means zero.
        scale: factor of the products.
        gate: None where there is none, and attended and upsampled features are added.
    """
    batch, channels, height, width = key_features.shape
    features, small = _pixels(key_features), _pixels(low)
    out = np.empty(features.shape, small.dtype)
    tiling = Tiling((batch, features.shape[3], height, width), margin=0 if gate is None else 1)
    arguments = (
        out,
        features,
        small,
        positions.contiguous().numpy(),
        _upsampling_positions((height, width), low).numpy(),
        bias_of(valid),
        tuple(_filters(conv, factor) for conv, factor in zip(convolutions, (scale, 1.0, 1.0), strict=True)),
        padded_position(position),
        *_gate(gate, valid),
    )
    parallel_for(
        lambda part: kernel.forward(*arguments, part, _scratch(tiling, small.dtype == np.uint16 and has_tiles())),
        tiling.tiles(torch.get_num_threads()),
    )
    return _maps(out)[:, :channels]


def _scratch(tiling: Tiling, tiled: bool) -> tuple[Any, ...]:
    """Allocate the buffers of a thread, in the form that the attention by tiles reads if it is `tiled`."""
    buffers: tuple[Any, ...] = scratch(tiling)
    query, keys, values, mixed, logits, biases, known = buffers
    line = query
    of_attention: tuple[Any, ...] = (logits,)
    if tiled:
        groups, pixels = tiling.groups, -(-tiling.width // BLOCK) * BLOCK
        depth, length = groups * LANES, pixels + BLOCK
        query, keys, values = (
            aligned(shape).view(np.uint32)
            for shape in ((pixels, depth // 2), (WINDOW, depth // 2, length), (WINDOW, length // 2, depth))
        )
        mixed, line = aligned((groups, 2, pixels, LANES)), aligned((groups, 1, length, LANES))
        blocks = pixels // BLOCK
        bands = aligned((blocks, WINDOW, BLOCK, KEYS // 2)).view(np.uint16)
        of_attention = aligned((blocks, WINDOW, BLOCK, KEYS)), bands, configuration()
    return (
        *(query, keys, values, mixed, biases, known, line, of_attention),
        tiling.rows(kernel.SIDE, RADIUS + 1),
        tiling.rows(kernel.SIDE, 1),
        aligned((kernel.SIDE, tiling.width, GATE_WIDTH)),
        aligned((tiling.width + ROW,)),
    )


def _gate(gate: GateInput | None, valid: Tensor) -> tuple[NDArray[Any], tuple[Any, ...]]:
    """Cues with a border of zeros, and weights, as the kernel reads them; empty where there is no gate."""
    empty = np.zeros(0, np.float32)
    if gate is None:
        nothing = aligned((0, 3 * GATE_WIDTH, LANES)), empty, empty, empty.reshape(0, 3, 3), np.float32(0)
        return empty.reshape(0, 3, 0, 0), nothing
    score = gate.score.detach().float()[0]
    weights = (
        _packed(gate.hidden.flatten(0, 1)),
        gate.hidden_bias.detach().float().numpy(),
        score[:GATE_WIDTH].permute(1, 2, 0).contiguous().view(-1).numpy(),
        score[GATE_WIDTH:].contiguous().numpy(),
        np.float32(gate.score_bias.item()),
    )
    batch, _, height, width = gate.motion.shape
    cues = np.zeros((batch, kernel.CUES, height + 2, width + 2), np.float32)
    arguments = cues, gate.motion.float().contiguous().numpy(), valid.contiguous().numpy()
    parallel_for(lambda part: kernel.reliability(*arguments, part), strips(batch, height))
    return cues, weights


def _pixels(x: Tensor) -> NDArray[Any]:
    """(B, H, W, C), C padded to whole groups of lanes; bfloat16 as uint16."""
    pixels = x.permute(0, 2, 3, 1)
    missing = -x.shape[1] % LANES
    return as_array((F.pad(pixels, (0, missing)) if missing else pixels).contiguous())


def _maps(pixels: NDArray[Any]) -> Tensor:
    return as_tensor(pixels).permute(0, 3, 1, 2)


def _packed(x: Tensor) -> Array:
    """Weights (.., C) as (groups, .., LANES), on cache lines."""
    padded = F.pad(x.detach().float(), (0, -x.shape[-1] % LANES))
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
