"""Run the Triton kernels of local attention on torch tensors."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from src.ops.local_attention_shifts import AttentionOptions
from src.ops.triton import local_attention_kernel as kernel
from src.ops.triton.local_attention_kernel import ROWS, TILE

SUMS = int(kernel.TAPS)


def forward(
    query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions, residual: Tensor | None = None
) -> Tensor:
    """Compute `local_attention`, plus `residual`."""
    memory, (q, k, v) = _same_format(query, key, value)
    added = None if residual is None else residual.detach().contiguous(memory_format=memory)
    dtype = query.dtype if added is None else torch.promote_types(query.dtype, added.dtype)
    out = torch.empty_like(q, dtype=dtype)
    constants = _constants(q, options, most=128)
    kernel.forward[_grid(q, constants)](
        *(out, q, k, v, added, _mask(options), _table(options, q)),
        *_layout(q, options),
        HAS_RESIDUAL=added is not None,
        ZERO_PADDING=options.zero_padding,
        **constants,
    )
    return out


def backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and position."""
    _, (q, k, v, g) = _same_format(query, key, value, gradient)
    dq, dk, dv = (torch.empty_like(q) for _ in range(3))
    lse, delta = (q.new_empty((q.shape[0], *q.shape[2:]), dtype=torch.float32) for _ in range(2))
    placed, window = options.position is not None, options.window
    constants = _constants(q, options, most=128)
    across, down, _ = grid = _grid(q, constants)
    sums = q.new_empty((across * down * q.shape[0] if placed else 0, SUMS, SUMS), dtype=torch.float32)
    kernel.backward_query[grid](
        *(dq, lse, delta, sums, g, q, k, v, _mask(options), _table(options, q)),
        *_layout(q, options),
        HAS_POSITION=placed,
        ZERO_PADDING=options.zero_padding,
        **constants,
    )
    constants = _constants(q, options, most=64)
    kernel.backward_key[_grid(q, constants)](
        *(dk, dv, g, q, k, v, lse, delta, _mask(options), _table(options, q, flipped=True)),
        *_layout(q, options),
        **constants,
    )
    return dq, dk, dv, sums.sum(0)[:window, :window].flatten()


def _grid(x: Tensor, constants: dict[str, Any]) -> tuple[int, int, int]:
    batch, channels, height, width = x.shape
    return triton.cdiv(width, TILE), triton.cdiv(height, TILE), batch * triton.cdiv(channels, constants["OUT"])


def _same_format(query: Tensor, *tensors: Tensor) -> tuple[torch.memory_format, list[Tensor]]:
    """Give tensors the type and dense memory format of `query`; that format, and all of them."""
    last = query.is_contiguous(memory_format=torch.channels_last) and not query.is_contiguous()
    memory = torch.channels_last if last else torch.contiguous_format
    return memory, [x.detach().to(query.dtype).contiguous(memory_format=memory) for x in (query, *tensors)]


def _mask(options: AttentionOptions) -> Tensor | None:
    return None if options.valid is None else options.valid.contiguous().view(torch.uint8)


def _table(options: AttentionOptions, like: Tensor, flipped: bool = False) -> Tensor:
    """Position term (pixels of a tile, positions around it), -inf beyond windows; `flipped` as keys see queries."""
    window, radius = options.window, options.window // 2
    rows, columns = triton.cdiv(TILE + 2 * radius, ROWS) * ROWS, _width(radius)
    pixel = torch.arange(TILE, device=like.device)
    down, right = (torch.arange(n, device=like.device)[None] - pixel[:, None] for n in (rows, columns))
    near = [(offset >= 0) & (offset < window) for offset in (down, right)]
    taps = (down.clamp(0, window - 1) * window)[:, None, :, None] + right.clamp(0, window - 1)[None, :, None]
    position = like.new_zeros(window**2, dtype=torch.float32)
    if options.position is not None:
        position = options.position.detach().float()
    terms = (position.flip(0) if flipped else position)[taps]
    return terms.masked_fill(~(near[0][:, None, :, None] & near[1][None, :, None]), -torch.inf)


def _width(radius: int) -> int:
    """Positions of a row around a tile, as the power of two that a matrix product needs."""
    return int(triton.next_power_of_2(TILE + 2 * radius))


def _layout(x: Tensor, options: AttentionOptions) -> tuple[float, ...]:
    """Scale, height and width, and the strides of channels, rows and columns."""
    return options.scale, *x.shape[2:], *x.stride()[1:]


def _constants(query: Tensor, options: AttentionOptions, most: int) -> dict[str, Any]:
    channels, radius = query.shape[1], options.window // 2
    padded = max(16, triton.next_power_of_2(channels))
    return {
        "CHANNELS": channels,
        "HAS_VALID": options.valid is not None,
        "RADIUS": radius,
        "WIDTH": _width(radius),
        "BLOCK": min(32 if query.dtype == torch.float32 else 64, padded),
        "OUT": min(most, padded),
        "num_warps": 4,
        "num_stages": 2,
    }
