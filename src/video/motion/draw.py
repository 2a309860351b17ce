"""Draw motion: arrows along it, or its direction and length as colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from src.video.types import MotionField

STYLES = ("arrows", "wheel")
STEP = 16  # pixels from arrow to arrow
_ARROW, _INVALID = (255, 255, 0), (255, 0, 0)


def draw_motion(image: NDArray[np.uint8], motion: MotionField, style: str, longest: float) -> NDArray[np.uint8]:
    """Draw on an image (H, W, 3) RGB the motion of its pixels since the earlier frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        motion: to the earlier frame.
        style: "arrows" from where a place was to where it is, red dots where that is unknown (intra); or "wheel",
            hue by direction, saturation by length, the image's own brightness, black where unknown.
        longest: pixels, drawn as full saturation.
    """
    return _arrows(image, motion) if style == "arrows" else _wheel(image, motion, longest)


def _arrows(image: NDArray[np.uint8], motion: MotionField) -> NDArray[np.uint8]:
    drawn = image.copy()
    height, width = motion.valid.shape
    for y in range(STEP // 2, height, STEP):
        for x in range(STEP // 2, width, STEP):
            if not motion.valid[y, x]:
                cv2.circle(drawn, (x, y), 1, _INVALID, -1)
                continue
            dx, dy = motion.field[:, y, x]
            start = (round(float(x + dx)), round(float(y + dy)))
            cv2.arrowedLine(drawn, start, (x, y), _ARROW, 1, cv2.LINE_AA, tipLength=0.3)
    return drawn


def _wheel(image: NDArray[np.uint8], motion: MotionField, longest: float) -> NDArray[np.uint8]:
    length, angle = cv2.cartToPolar(-motion.field[0], -motion.field[1], angleInDegrees=True)
    hue = (angle / 2).astype(np.uint8)  # OpenCV counts hues in steps of two degrees
    saturation = np.minimum(255 * length / longest, 255).astype(np.uint8)
    value = np.where(motion.valid, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 2 + 127, 0).astype(np.uint8)
    return np.asarray(cv2.cvtColor(np.dstack([hue, saturation, value]), cv2.COLOR_HSV2RGB), np.uint8)
