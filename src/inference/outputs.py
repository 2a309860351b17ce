"""Outputs of a prediction: the video with its classes laid over it, and label maps."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from src.data.labels import ClassSet
from src.inference.segment import Segmented

BARS = 90  # frames whose cost is shown


class Overlay:
    """Draw frames under the colours of their classes.

    Args:
        classes: with a palette.
        opacity: 0..1 of the colours.
    """

    def __init__(self, classes: ClassSet, opacity: float) -> None:
        values = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
        colours = classes.colour(np.arange(len(classes), dtype=np.uint8)[:, None].repeat(256, 1))
        shown = [blend(values, colour, opacity) for colour in colours]
        self._table = np.ascontiguousarray(np.stack(shown).transpose(0, 2, 1))  # class, channel, value

    def draw(self, result: Segmented) -> NDArray[np.uint8]:
        """Return (H, W, 3) RGB."""
        drawn = np.empty_like(result.frame.image)
        _look_up(self._table, result.labels.reshape(-1), result.frame.image.reshape(-1, 3), drawn.reshape(-1, 3))
        return drawn


class SpendingBars:
    """Draw what the latest frames cost as bars at the lower edge, the newest on the right: white ones are keyframes.

    Args:
        costs: of "key", "nonkey" and "warp", in any unit.
    """

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs = costs
        self._latest: deque[tuple[str, float]] = deque(maxlen=BARS)  # kind, and cost to that of a keyframe

    def draw(self, image: NDArray[np.uint8], result: Segmented) -> None:
        """Draw them into an image (H, W, 3) RGB, the result's own at the end."""
        kind = "key" if result.is_key else "warp" if result.warp_only else "nonkey"
        self._latest.append((kind, self._costs[kind] / self._costs["key"]))
        height, width = image.shape[:2]
        side = max(1, width // BARS)
        for place, (kind, share) in enumerate(reversed(self._latest), start=1):
            tall = min(height, max(2, round(height / 10 * share)))
            bar = image[height - tall :, max(0, width - place * side) : width - place * side + side - side // 3]
            bar[:] = 255 if kind == "key" else 160


@njit(cache=True, nogil=True, error_model="numpy")
def _look_up(
    table: NDArray[np.uint8], labels: NDArray[np.uint8], image: NDArray[np.uint8], drawn: NDArray[np.uint8]
) -> None:
    for n in range(len(labels)):
        for channel in range(3):
            drawn[n, channel] = table[labels[n], channel, image[n, channel]]


def blend(image: NDArray[np.uint8], colours: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """Return (1 - opacity) * image + opacity * colours, rounded."""
    return np.asarray(cv2.addWeighted(image, 1 - opacity, colours, opacity, 0), np.uint8)


def class_shares(labels: NDArray[np.uint8], classes: ClassSet) -> dict[str, float]:
    """Return the share 0..1 of the pixels that have each class, by name; classes that no pixel has are left out."""
    counts = cv2.calcHist([labels], [0], None, [len(classes)], [0, len(classes)]).ravel()
    return {name: round(float(n) / labels.size, 6) for name, n in zip(classes.names, counts, strict=True) if n}


def write_labels(folder: Path, result: Segmented) -> None:
    """Write class indices as an 8-bit grey PNG, named by frame index, as `IndexCoding` reads them."""
    coded = cv2.imencode(".png", result.labels)[1]
    (folder / f"{result.frame.index:06d}.png").write_bytes(coded.tobytes())
