"""Colour augmentation; the only file that imports albumentations."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import asks a package index for news otherwise

import albumentations as A

from src.errors import check_range


class ColourJitter:
    """Brightness, contrast, saturation and hue, one draw for all frames of a clip.

    Args:
        brightness, contrast, saturation: factors are drawn from 1 - value .. 1 + value.
        hue: shift drawn from -value .. value of the full circle, 0..0.5.
        blur: probability of a slight Gaussian blur.
        compression: probability of JPEG compression, whose losses resemble those of a keyframe.

    Raises:
        UserError: a value out of its range.
    """

    def __init__(
        self, brightness: float, contrast: float, saturation: float, hue: float, blur: float, compression: float
    ) -> None:
        for key, value, most in (
            ("brightness", brightness, 1.0),
            ("contrast", contrast, 1.0),
            ("saturation", saturation, 1.0),
            ("hue", hue, 0.5),
            ("blur", blur, 1.0),
            ("compression", compression, 1.0),
        ):
            check_range(
                0 <= value <= most, f"data.module.transform.jitter.{key}", value, f"a number from 0 to {most:g}"
            )
        self._transform = A.Compose(
            [
                A.ColorJitter(
                    brightness=(1 - brightness, 1 + brightness),
                    contrast=(1 - contrast, 1 + contrast),
                    saturation=(1 - saturation, 1 + saturation),
                    hue=(-hue, hue),
                    p=1.0,
                ),
                A.GaussianBlur(sigma_limit=(0.3, 1.0), p=blur),
                A.ImageCompression(quality_range=(40, 95), p=compression),
            ]
        )

    def __call__(self, frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Jittered frames (T, H, W, 3) uint8."""
        # albumentations 2.0.8 repeats its draws in every worker and epoch; our own generator decides instead.
        self._transform.set_random_seed(int(rng.integers(2**31)))
        jittered: NDArray[np.uint8] = self._transform(images=frames)["images"]
        return jittered
