"""Local attention as dense attention inside tiles: matrix products, slices and concatenations only.

The queries of a tile attend to the keys of the tile and its surroundings, and a bias takes away those outside each
query's window. That is several times the arithmetic of `local_attention_shifts`, in a tenth of the memory traffic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.local_attention_shifts import AttentionOptions

TILE = 8  # side of a tile, in pixels
EXCLUDED = -2e4  # added to the logit of a key that takes no part; twice that is a number in half precision, too


def forward(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions) -> Tensor:
    """Compute `local_attention` (B, C, H, W) in the dtype of `query`."""
    window = options.window
    height, width = query.shape[-2:]
    rows, columns = ((n + TILE - 1) // TILE for n in (height, width))  # ONNX rounds quotients below 0 up
    radius = window // 2

    def tiles(x: Tensor, halo: int) -> Tensor:
        """(B, rows * columns, pixels of a tile, C) of a map (B, C, H, W), a tile with `halo` pixels around."""
        reach = -(-2 * halo // TILE) * TILE  # of the whole tiles that hold the pixels after a tile
        padded = F.pad(x, (halo, columns * TILE + reach - halo - width, halo, rows * TILE + reach - halo - height))
        x = padded.permute(0, 2, 3, 1)
        for dim, count in ((1, rows), (3, columns)):
            parts = [
                x.narrow(dim, TILE * n, TILE * count).unflatten(dim, (count, TILE))  # type: ignore[no-untyped-call]
                for n in range(reach // TILE + 1)
            ]
            x = torch.cat(parts, dim + 1).narrow(dim + 1, 0, TILE + 2 * halo) if halo else parts[0]
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    bias = _bias(options, query)
    known = options.valid
    if not options.zero_padding or known is not None:
        known = torch.ones_like(query[:, :1]) if known is None else known[:, None].to(query.dtype)
        known = tiles(known, radius).transpose(2, 3)
        bias = bias + (1 - known) * EXCLUDED
    queries, keys, values = tiles(query * options.scale, 0), tiles(key, radius), tiles(value, radius)
    weights = torch.softmax(queries @ keys.transpose(2, 3) + bias, -1)
    if known is not None:  # a query all of whose keys are excluded gets nothing
        weights = weights * known
    out = weights @ values
    out = out.reshape(out.shape[0], rows, columns, TILE, TILE, -1)
    out = out.permute(0, 5, 1, 3, 2, 4).reshape(out.shape[0], -1, rows * TILE, columns * TILE)
    return out[..., :height, :width]


def _bias(options: AttentionOptions, like: Tensor) -> Tensor:
    """(1, 1, queries, keys) of a tile: the position term inside a query's window, outside twice `EXCLUDED`.

    A query whose keys are all excluded then prefers them to those outside its window.
    """
    window, side = options.window, TILE + options.window - 1
    place = torch.arange(side, device=like.device)
    offset = place[None, :] - place[:TILE, None]  # of a key in its query's window, along one axis
    inside = (offset >= 0) & (offset < window)
    offset = offset.clamp(0, window - 1)
    index = (offset[:, None, :, None] * window + offset[None, :, None, :]).reshape(TILE**2, side**2)
    allowed = (inside[:, None, :, None] & inside[None, :, None, :]).reshape(TILE**2, side**2)
    term = torch.zeros_like(index, dtype=like.dtype) if options.position is None else options.position[index]
    return torch.where(allowed, term, 2 * EXCLUDED)[None, None]
