"""Run the Numba kernel of local attention on torch tensors, tile by tile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from src.ops.cpu import local_attention_kernel as kernel
from src.ops.cpu.local_attention_kernel import EXCLUDED, F32, RADIUS, TAPS
from src.ops.cpu.simd import ROW, WINDOW
from src.ops.cpu.threads import parallel_for
from src.ops.cpu.tiles import Array, Tiling, aligned
from src.ops.local_attention_shifts import AttentionOptions

Terms = tuple[Array, np.float32, Array, np.float32]  # key bias, bias beyond the map, position, scale


def scratch(tiling: Tiling) -> tuple[Array, ...]:
    """Allocate the buffers of a thread: a row, two rings of seven padded rows, result rows, taps, biases, flags."""
    return (
        tiling.rows(1, 0),
        tiling.rows(WINDOW, RADIUS),
        tiling.rows(WINDOW, RADIUS),
        tiling.rows(2, 0),
        aligned((tiling.width + 1, TAPS)),
        aligned((WINDOW, tiling.width + 1 + ROW)),
        aligned((2, tiling.width + 1)),
    )


def _empty_like(x: Tensor) -> Tensor:
    """Allocate like `torch.empty_like`, but with NumPy's huge pages: first writes are several times cheaper."""
    flat = torch.from_numpy(np.empty(x.numel(), np.float32))
    return flat.as_strided(x.shape, x.stride())


def _run(function: Callable[..., None], arguments: tuple[object, ...], x: Tensor) -> None:
    """Run a kernel over the tiles of maps of the shape and strides of x."""
    batch, channels, height, width = x.shape
    tiling = Tiling((batch, channels, height, width))
    plane = height * width
    last = (channels * plane, 1, width * channels, channels)
    stride = (channels * plane, plane, width, 1) if x.is_contiguous() else last
    tiles = tiling.tiles(torch.get_num_threads())
    parallel_for(lambda part: function(*arguments, tiling.shape, stride, part, scratch(tiling)), tiles)


def _same_format(query: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Convert the tensors to float32, all in one dense memory format: that of `query` where it is channels-last."""
    last = query.is_contiguous(memory_format=torch.channels_last) and not query.is_contiguous()
    dense = torch.channels_last if last else torch.contiguous_format
    return [t.detach().float().contiguous(memory_format=dense) for t in (query, *tensors)]


def _flat(x: Tensor) -> Array:
    array: Array = (x if x.is_contiguous() else x.permute(0, 2, 3, 1)).reshape(-1).numpy()
    return array


def _terms(x: Tensor, options: AttentionOptions) -> Terms:
    valid = options.valid if options.valid is not None else torch.ones_like(x[:, 0], dtype=torch.bool)
    outside = F32(0 if options.zero_padding else EXCLUDED)
    return bias_of(valid), outside, padded_position(options.position), F32(options.scale)


def bias_of(valid: Tensor) -> Array:
    """Term added to the logits of keys (B, H, W): 0 where they are valid, else `EXCLUDED`."""
    bias: Array = np.where(valid.numpy(), F32(0), EXCLUDED)
    return bias


def padded_position(position: Tensor | None) -> Array:
    """The position term (49,), or zeros, with the place after each row excluded, as the kernel reads it."""
    padded = np.zeros((WINDOW, ROW), np.float32)
    padded[:, WINDOW:] = EXCLUDED
    if position is not None:
        padded[:, :WINDOW] = position.detach().float().view(WINDOW, WINDOW).numpy()
    return padded.reshape(-1)


def forward(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> Tensor:
    """Compute `local_attention` for windows of 7 x 7, in as many threads as torch."""
    q, k, v = _same_format(query, key, value)
    out = _empty_like(q)
    _run(kernel.forward, (_flat(out), _flat(q), _flat(k), _flat(v), *_terms(q, options)), q)
    return out.to(query.dtype)


def backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and position."""
    q, k, v, g = _same_format(query, key, value, gradient)
    dq, dk, dv = (_empty_like(q) for _ in range(3))
    batch, _, height, width = q.shape
    weights, slopes = (np.empty((batch, height, width, TAPS), np.float32) for _ in range(2))
    flat = (weights, slopes, _flat(g), _flat(q))
    _run(kernel.backward_query, (_flat(dq), *flat, _flat(k), _flat(v), *_terms(q, options)), q)
    _run(kernel.backward_key, (_flat(dk), _flat(dv), *flat, F32(options.scale)), q)
    by_tap = slopes.sum((0, 1, 2), dtype=np.float64).astype(np.float32)
    d_position = torch.from_numpy(by_tap.reshape(WINDOW, ROW)[:, :WINDOW].flatten())
    dq, dk, dv = (d.to(query.dtype) for d in (dq, dk, dv))
    return dq, dk, dv, d_position
