"""The display matrix of a video: which way up its frames are meant to be seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from src.video.reading.container import side_data

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orientation:
    """Transpose first, then flip: any of the eight ways to lay a frame on the pixel grid."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) as seen upright."""
        return (width, height) if self.transpose else (height, width)

    def aspect(self, ratio: Fraction | None) -> Fraction | None:
        """Width over height of a pixel as seen upright; None where it is not known."""
        return 1 / ratio if ratio and self.transpose else ratio or None

    def image(self, image: NDArray[Any]) -> NDArray[Any]:
        """(H, W, C) as coded to upright, contiguous."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        image = image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(image)

    def vectors(self, vectors: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """Rows [x0, y0, w, h, dx, dy] as coded to upright; the size is that of the upright frame."""
        turned = vectors[:, [1, 0, 3, 2, 5, 4]] if self.transpose else vectors.copy()
        if self.flip_x:
            turned[:, 0] = width - turned[:, 0] - turned[:, 2]
            turned[:, 4] *= -1
        if self.flip_y:
            turned[:, 1] = height - turned[:, 1] - turned[:, 3]
            turned[:, 5] *= -1
        return turned


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """From the frame's display matrix (ISO/IEC 14496-12, 6.2.2): x' = a x + c y, y' = b x + d y.

    The nearest quarter turn; none, with a warning, where the matrix is far from all of them.
    """
    data = side_data(frame, "DISPLAYMATRIX")
    if data is None:
        degrees = frame.rotation % 360  # all that PyAV knows where some side data is of a kind that it does not
        return Orientation(degrees in (90, 270), degrees in (180, 270), degrees in (90, 180))
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(data), np.int32)[:5])
    straight, turned = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > 8 * max(abs(b), abs(c)):
        return Orientation(False, a < 0, d < 0)
    if turned > 8 * max(abs(a), abs(d)):
        return Orientation(True, c < 0, b < 0)
    if any((a, b, c, d)):
        log.warning("the video is turned by no multiple of 90 degrees; its frames are taken as they are coded")
    return Orientation()
