"""Cut feature maps into tiles that fit the second-level cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.ops.cpu.simd import LANES, WINDOW

Array = NDArray[np.float32]
Tiles = NDArray[np.int64]


@dataclass(frozen=True)
class Tiling:
    """The cut of a map of shape (B, C, H, W) into tiles, which share `margin` pixels on each side with others."""

    shape: tuple[int, int, int, int]
    margin: int = 0

    @property
    def groups(self) -> int:
        """Number of groups of `LANES` channels, the last one padded."""
        return -(-self.shape[1] // LANES)

    @property
    def width(self) -> int:
        """Number of columns per tile: keys and values of seven rows stay within a 512 KB second-level cache."""
        return min(self.shape[3] + 2 * self.margin, max(32, 64 // self.groups))

    def tiles(self, threads: int) -> Tiles:
        """Compute tiles (N, 5) = batch, y0, y1, x0, x1, cut so that every thread gets several."""
        batch, _, height, width = self.shape
        columns = -(-width // max(1, self.width - 2 * self.margin))
        rows = min(-(-height // WINDOW), max(-(-height // 96), -(-4 * threads // (batch * columns))))
        ys = [height * i // rows for i in range(rows + 1)]
        xs = [width * i // columns for i in range(columns + 1)]
        return np.array(
            [(b, ys[i], ys[i + 1], xs[j], xs[j + 1]) for b in range(batch) for i in range(rows) for j in range(columns)]
        )

    def rows(self, count: int, around: int) -> Array:
        """Allocate rows of a tile (groups, count, width + 2 * around, LANES)."""
        return aligned((self.groups, count, self.width + 2 * around, LANES))


def aligned(shape: tuple[int, ...]) -> Array:
    """Allocate zeros on a cache line boundary; loads across one would halve the speed of a kernel."""
    size = int(np.prod(shape))
    buffer = np.zeros(size + 16, np.float32)
    start = -(buffer.ctypes.data // 4) % 16
    return buffer[start : start + size].reshape(shape)
