"""Geometric and colour augmentation of clips, and the way from images to tensors.

One draw serves all frames of a clip, and motion changes with the image: its values are scaled and mirrored, and
vectors that lead out of the crop become invalid.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.data.batch import Sample
from src.data.labels import IGNORE
from src.errors import check_range

PLACES = 10  # drawn again for a crop in which one class has too much


@dataclass(frozen=True)
class FitSize:
    """Images enlarged or shrunk, keeping their shape, to the largest size of at most `short` by `long` pixels.

    Labels keep their size, so that networks are scored at that of the data set (RDRNet's rule for VOC 2012).

    Raises:
        UserError: a side that is no whole number above 0.
    """

    short: int
    long: int

    def __post_init__(self) -> None:
        sides = [self.short, self.long]
        check_range(_are_pixels(sides), "data.fit", sides, "short and long side in whole pixels above 0")

    def ratio(self, height: int, width: int) -> float:
        """Factor of both sides."""
        return min(self.short / min(height, width), self.long / max(height, width))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that an image gets."""
        ratio = self.ratio(height, width)
        return round(height * ratio), round(width * ratio)

    def __call__(self, sample: Sample, rng: np.random.Generator | None = None) -> Sample:
        """The clip with frames and motion at their new size; nothing is random."""
        height, width = sample.frames.shape[1:3]
        unlabelled = replace(sample, labels=np.zeros((height, width), np.uint8))
        fitted = crop_and_scale(unlabelled, (0, 0, height, width), self.size(height, width))
        return replace(fitted, labels=sample.labels)


@dataclass(frozen=True)
class TrainTransform:
    """Random rotation, scale, crop, horizontal flip and colour jitter.

    Args:
        fit: the size that `scale` is a factor of; None: that of the image.
        crop: (height, width) of the result.
        scale: factor drawn uniformly in the logarithm from (low, high), or one of a longer list.
        flip: probability of mirroring.
        jitter: colour augmentation, or None.

    Raises:
        UserError: a value out of its range.
    """

    crop: Sequence[int]
    scale: Sequence[float]
    flip: float
    jitter: ColourJitter | None
    fit: FitSize | None = None
    rotation: float = 0.0
    class_share: float = 1.0

    def __post_init__(self) -> None:
        check_crop(self.crop, self.scale, "data")
        check_range(0 <= self.flip <= 1, "data.module.transform.flip", self.flip, "a probability from 0 to 1")
        check_range(0 <= self.rotation < 90, "data.rotation", self.rotation, "degrees from 0, below 90")
        check_range(0 < self.class_share <= 1, "data.class_share", self.class_share, "a share above 0, up to 1")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The augmented clip of size `crop`."""
        if self.rotation:
            sample = rotate(sample, float(rng.uniform(-self.rotation, self.rotation)))
        sample = crop_and_scale(sample, self._window(sample, rng), (self.crop[0], self.crop[1]))
        if rng.random() < self.flip:
            sample = mirror(sample)
        if self.jitter is not None:
            sample.frames = self.jitter(sample.frames, rng)
        return sample

    def _window(self, sample: Sample, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width, in source pixels, of what becomes the crop; may exceed the image."""
        height, width = sample.labels.shape
        if len(self.scale) == 2:
            scale = float(np.exp(rng.uniform(*np.log(self.scale))))
        else:
            scale = float(rng.choice(np.asarray(self.scale)))
        scale *= self.fit.ratio(height, width) if self.fit else 1.0
        tall, wide = (max(1, round(side / scale)) for side in self.crop)
        for _ in range(1 + (PLACES if self.class_share < 1 else 0)):
            top = int(rng.integers(min(0, height - tall), max(0, height - tall) + 1))
            left = int(rng.integers(min(0, width - wide), max(0, width - wide) + 1))
            if self.class_share == 1 or self._is_mixed(_part(sample.labels, (top, left, tall, wide), IGNORE)):
                break
        return top, left, tall, wide

    def _is_mixed(self, labels: NDArray[np.uint8]) -> bool:
        counts = np.bincount(labels.ravel(), minlength=IGNORE)[:IGNORE]
        return bool(counts.max() <= self.class_share * counts.sum() and counts.any())


def check_crop(crop: Sequence[int], scale: Sequence[float], place: str) -> None:
    """Reject sizes and factors that `TrainTransform` cannot use.

    Args:
        crop, scale: as of `TrainTransform`.
        place: of their keys in the configuration, for messages.

    Raises:
        UserError: a value out of its range.
    """
    sides, factors = list(crop), list(scale)
    pixels = len(sides) == 2 and _are_pixels(sides)
    check_range(pixels, f"{place}.crop", sides, "[height, width] in whole pixels above 0")
    usable = bool(factors) and min(factors) > 0 and (len(factors) != 2 or factors[0] <= factors[1])
    check_range(usable, f"{place}.scale", factors, "[low, high] with 0 < low <= high")


def _are_pixels(sides: list[Any]) -> bool:
    return all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)


def crop_and_scale(sample: Sample, window: tuple[int, int, int, int], size: tuple[int, int]) -> Sample:
    """The part `window` = (top, left, height, width) of a clip, resized to `size` = (height, width).

    Where the window exceeds the image, pixels are black, labels ignored and motion invalid.
    """
    _, _, tall, wide = window
    height, width = size
    factor = np.array([width / wide, height / tall], np.float32)[:, None, None]
    shrinks = height < tall or width < wide
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR

    def cut(image: NDArray[np.uint8], fill: int, interpolation: int) -> NDArray[np.uint8]:
        part = _part(image, window, fill)
        return np.asarray(cv2.resize(part, (width, height), interpolation=interpolation), image.dtype)

    frames = np.stack([cut(frame, 0, smooth) for frame in sample.frames])
    labels = cut(sample.labels, IGNORE, cv2.INTER_NEAREST_EXACT)
    motion = np.stack([cut(component, 0, cv2.INTER_LINEAR) for component in sample.motion]) * factor
    valid = cut(sample.motion_valid.astype(np.uint8), 0, cv2.INTER_NEAREST_EXACT).astype(bool)
    return Sample(frames, labels, motion, valid & _inside(motion), sample.distance, sample.name)


def rotate(sample: Sample, angle: float) -> Sample:
    """The clip turned about its centre by degrees counter-clockwise, motion with it.

    Where the corners become empty, pixels are black, labels ignored and motion invalid.
    """
    height, width = sample.labels.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)

    def turned(image: NDArray[Any], fill: int, interpolation: int) -> NDArray[Any]:
        value = [fill] * 3
        return np.asarray(cv2.warpAffine(image, turn, (width, height), flags=interpolation, borderValue=value))

    motion = np.stack([turned(component, 0, cv2.INTER_LINEAR) for component in sample.motion])
    motion = np.tensordot(turn[:, :2].astype(np.float32), motion, 1)
    valid = turned(sample.motion_valid.astype(np.uint8), 0, cv2.INTER_NEAREST).astype(bool)
    return replace(
        sample,
        frames=np.stack([turned(frame, 0, cv2.INTER_LINEAR) for frame in sample.frames]),
        labels=turned(sample.labels, IGNORE, cv2.INTER_NEAREST),
        motion=motion,
        motion_valid=valid & _inside(motion),
    )


def mirror(sample: Sample) -> Sample:
    """The clip seen in a mirror: left and right change places, motion changes sign in x."""
    motion = sample.motion[:, :, ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    return Sample(
        np.ascontiguousarray(sample.frames[:, :, ::-1]),
        np.ascontiguousarray(sample.labels[:, ::-1]),
        motion,
        np.ascontiguousarray(sample.motion_valid[:, ::-1]),
        sample.distance,
        sample.name,
    )


def to_tensors(sample: Sample) -> dict[str, Tensor | int | str]:
    """The fields of `ClipBatch` of one clip as loaders give them, without B."""
    return {
        "frames": torch.from_numpy(sample.frames).permute(0, 3, 1, 2),
        "labels": torch.from_numpy(sample.labels.copy()),  # those of a file cannot be written to
        "motion": torch.from_numpy(np.ascontiguousarray(sample.motion)),
        "motion_valid": torch.from_numpy(sample.motion_valid),
        "distance": sample.distance,
        "name": sample.name,
    }


def _part(image: NDArray[np.uint8], window: tuple[int, int, int, int], fill: int) -> NDArray[np.uint8]:
    top, left, tall, wide = window
    inner = image[max(0, top) : top + tall, max(0, left) : left + wide]
    above, before = max(0, -top), max(0, -left)
    below, behind = tall - above - inner.shape[0], wide - before - inner.shape[1]
    if not (above or before or below or behind):
        return inner
    value = [fill] * 3
    return np.asarray(cv2.copyMakeBorder(inner, above, below, before, behind, cv2.BORDER_CONSTANT, value=value))


def _inside(motion: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = motion.shape[1:]
    x = np.arange(width, dtype=np.float32) + motion[0]
    y = np.arange(height, dtype=np.float32)[:, None] + motion[1]
    inside: NDArray[np.bool_] = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return inside


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
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import asks a package index for news otherwise
        import albumentations as A  # here, so that inference, which resizes with `FitSize`, does not load it

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
