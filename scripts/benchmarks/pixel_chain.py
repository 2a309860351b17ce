"""The chain of AR-Seg's official code as its facts describe it: by whole pixels, here vectorised in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pixel_chain(frames: list[NDArray[np.float32]], height: int, width: int) -> NDArray[np.float32]:
    """Displacement (2, H, W) to the keyframe through the block vectors of the frames after it.

    For each frame, pixels go to round(x + vector), held inside the picture, and take over the place in the keyframe
    that the pixel there has; pixels without a vector stay where they are.
    """
    y, x = np.mgrid[:height, :width]
    place_x, place_y = x.copy(), y.copy()
    for blocks in frames:
        hop_x, hop_y = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        for x0, y0, w, h, dx, dy in blocks:
            window = slice(max(int(y0), 0), int(y0 + h)), slice(max(int(x0), 0), int(x0 + w))
            hop_x[window], hop_y[window] = dx, dy
        to_x = np.clip(x + np.rint(hop_x).astype(np.intp), 0, width - 1)
        to_y = np.clip(y + np.rint(hop_y).astype(np.intp), 0, height - 1)
        place_x, place_y = place_x[to_y, to_x], place_y[to_y, to_x]
    return np.stack([place_x - x, place_y - y]).astype(np.float32)
