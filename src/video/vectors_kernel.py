"""The loop over blocks behind `src.video.vectors`."""
# Numba infers the types of this function from its first call.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def block_rows(blocks, exact, left, top):
    """(N, 6) float32 [x0, y0, w, h, dx, dy] of FFmpeg's blocks, which have centres, in a picture cut by (left, top).

    The motion is that of the motion fields if `exact`, or else from place to place in whole pixels.
    """
    rows = np.empty((len(blocks), 6), np.float32)
    for n in range(len(blocks)):
        block, row = blocks[n], rows[n]
        row[2], row[3] = block.w, block.h
        row[0] = block.dst_x - (row[2] / 2 + left)
        row[1] = block.dst_y - (row[3] / 2 + top)
        if exact:
            scale = np.float32(block.motion_scale)
            row[4], row[5] = np.float32(block.motion_x) / scale, np.float32(block.motion_y) / scale
        else:
            row[4], row[5] = block.src_x - block.dst_x, block.src_y - block.dst_y
    return rows
