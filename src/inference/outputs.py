"""Outputs of a prediction: the video with its classes laid over it, and label maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.labels import ClassSet
from src.inference.segment import Segmented


def overlay(result: Segmented, classes: ClassSet, opacity: float) -> NDArray[np.uint8]:
    """Draw (H, W, 3) RGB: the frame under the colours of its classes; `opacity` 0..1 of the colours."""
    return blend(result.frame.image, classes.colour(result.labels), opacity)


def blend(image: NDArray[np.uint8], colours: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """Return (1 - opacity) * image + opacity * colours, rounded."""
    return np.asarray(cv2.addWeighted(image, 1 - opacity, colours, opacity, 0), np.uint8)


def write_labels(folder: Path, result: Segmented) -> None:
    """Write class indices as an 8-bit grey PNG, named by frame index, as `IndexCoding` reads them."""
    coded = cv2.imencode(".png", result.labels)[1]
    (folder / f"{result.frame.index:06d}.png").write_bytes(coded.tobytes())
