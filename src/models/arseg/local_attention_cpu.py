"""From torch tensors to the tiles of the Numba kernel of local attention.

The kernel releases the GIL and is started from Python threads, not by Numba's own pool: that one aborts a data
loader worker forked after its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.models.arseg import local_attention_kernel as kernel
from src.models.arseg.local_attention_kernel import EXCLUDED, F32, LANES, PADDED_TAPS, RADIUS, TAPS, WINDOW

Array = NDArray[np.float32]
Options = tuple[Array, np.float32, Array, np.float32]  # key bias, bias beyond the map, position, scale


@dataclass(frozen=True)
class Layout:
    """Shape (B, C, H, W) and element strides shared by every tensor of a call."""

    shape: tuple[int, int, int, int]
    stride: tuple[int, int, int, int]

    @property
    def groups(self) -> int:
        """Groups of `LANES` channels, the last one padded."""
        return -(-self.shape[1] // LANES)

    @property
    def tile_width(self) -> int:
        """Columns per tile: keys and values of seven rows stay within a 512 KB second-level cache."""
        return min(self.shape[3], max(32, 64 // self.groups))

    def tiles(self, threads: int) -> NDArray[np.int64]:
        """Tiles (N, 5) = batch, y0, y1, x0, x1, cut so that every thread gets several."""
        batch, _, height, width = self.shape
        columns = -(-width // self.tile_width)
        rows = min(-(-height // WINDOW), max(-(-height // 96), -(-4 * threads // (batch * columns))))
        ys = [height * i // rows for i in range(rows + 1)]
        xs = [width * i // columns for i in range(columns + 1)]
        return np.array(
            [(b, ys[i], ys[i + 1], xs[j], xs[j + 1]) for b in range(batch) for i in range(rows) for j in range(columns)]
        )

    def scratch(self) -> tuple[Array, ...]:
        """Buffers of a thread: a row, two rings of seven padded rows, a result row, taps, a ring of biases."""
        width, groups = self.tile_width, self.groups
        ring = (groups, WINDOW, width + 2 * RADIUS, LANES)
        return (
            _aligned((groups, 1, width, LANES)),
            _aligned(ring),
            _aligned(ring),
            _aligned((groups, width, LANES)),
            _aligned((width, PADDED_TAPS)),
            _aligned((WINDOW, width + 2 * RADIUS + 1)),
        )


def _aligned(shape: tuple[int, ...]) -> Array:
    """Zeros on a cache line boundary; loads across one would halve the speed of the kernel."""
    size = int(np.prod(shape))
    buffer = np.zeros(size + 16, np.float32)
    start = -(buffer.ctypes.data // 4) % 16
    return buffer[start : start + size].reshape(shape)


def _empty_like(x: Tensor) -> Tensor:
    """NumPy asks for huge pages, torch does not: first writes to a large map are several times cheaper."""
    flat = torch.from_numpy(np.empty(x.numel(), np.float32))
    return flat.as_strided(x.shape, x.stride())


def _run(function: Callable[..., None], arguments: tuple[object, ...], layout: Layout) -> None:
    """Share the tiles among torch's number of threads, so that there is one thread budget."""
    budget = torch.get_num_threads()
    tiles = layout.tiles(budget)
    threads = min(budget, len(tiles))
    tail = (layout.shape, layout.stride)

    def share(i: int) -> None:
        function(*arguments, *tail, tiles[i::threads].copy(), layout.scratch())

    if threads == 1:
        share(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))


def _layout(x: Tensor) -> Layout:
    batch, channels, height, width = x.shape
    shape = batch, channels, height, width
    plane = height * width
    if x.is_contiguous():
        return Layout(shape, (channels * plane, plane, width, 1))
    return Layout(shape, (channels * plane, 1, width * channels, channels))


def _same_format(query: Tensor, *tensors: Tensor) -> list[Tensor]:
    """The tensors as float32, all in one dense memory format: that of `query` where it is channels-last."""
    last = query.is_contiguous(memory_format=torch.channels_last) and not query.is_contiguous()
    dense = torch.channels_last if last else torch.contiguous_format
    return [t.detach().float().contiguous(memory_format=dense) for t in (query, *tensors)]


def _flat(x: Tensor) -> Array:
    array: Array = (x if x.is_contiguous() else x.permute(0, 2, 3, 1)).reshape(-1).numpy()
    return array


def _options(x: Tensor, valid: Tensor | None, position: Tensor | None, scale: float, zero_padding: bool) -> Options:
    batch, _, height, width = x.shape
    bias = np.zeros((batch, height, width), np.float32)
    if valid is not None:
        bias[~valid.numpy()] = EXCLUDED
    start = np.zeros(TAPS, np.float32) if position is None else position.detach().float().numpy()
    return bias, F32(0 if zero_padding else EXCLUDED), start, F32(scale)


def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    position: Tensor | None,
    scale: float,
    zero_padding: bool,
) -> Tensor:
    """See `local_attention`; threads as torch.get_num_threads() says."""
    q, k, v = _same_format(query, key, value)
    options = _options(q, valid, position, scale, zero_padding)
    out = _empty_like(q)
    _run(kernel.forward, (_flat(out), _flat(q), _flat(k), _flat(v), *options), _layout(q))
    return out.to(query.dtype)


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    position: Tensor | None,
    scale: float,
    zero_padding: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and position."""
    q, k, v, g = _same_format(query, key, value, gradient)
    options = _options(q, valid, position, scale, zero_padding)
    dq, dk, dv = (_empty_like(q) for _ in range(3))
    batch, _, height, width = q.shape
    weights, slopes = (np.empty((batch, height, width, TAPS), np.float32) for _ in range(2))
    flat = (weights, slopes, _flat(g), _flat(q))
    _run(kernel.backward_query, (_flat(dq), *flat, _flat(k), _flat(v), *options), _layout(q))
    _run(kernel.backward_key, (_flat(dk), _flat(dv), *flat, F32(scale)), _layout(q))
    d_position = torch.from_numpy(slopes.sum((0, 1, 2), dtype=np.float64).astype(np.float32))
    dq, dk, dv = (d.to(query.dtype) for d in (dq, dk, dv))
    return dq, dk, dv, d_position
