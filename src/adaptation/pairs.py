"""Draw pairs of a keyframe and a frame after it from whole videos, pass after pass, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import default_collate

from src.adaptation.options import Learning
from src.data.batch import ClipBatch, Sample
from src.data.transforms import FitSize, TrainTransform, to_tensors
from src.errors import UserError
from src.inference.keyframes import KeyedMotion
from src.video.types import Frame, MotionField

HELD_OUT = 5  # of so many blocks of one GOP one is held out
WAITING = 128  # pairs at most among which the next one is drawn
FEWEST_PASSES = 2  # over a long video, so that its start is seen late, too


@dataclass(frozen=True)
class Source:
    """A video to adapt to.

    Attributes:
        name: for messages and records.
        frames: opens it anew.
        count: its frames.
        all_intra: as of `VideoInfo`.
    """

    name: str
    frames: Callable[[], Iterable[Frame]]
    count: int
    all_intra: bool


def is_held_out(index: int, gop: int) -> bool:
    """Return whether a frame of a video is never learned from: every fifth block of `gop` frames, from the third on."""
    return index // gop % HELD_OUT == HELD_OUT // 2


def fitting(options: Learning, sizes: Iterable[tuple[int, int]], fit: FitSize | None) -> Learning:
    """Return the options with a crop that is no larger than the smallest of videos with these (height, width)."""
    fitted = [size if fit is None else fit.size(*size) for size in sizes]
    crop = [min(side, *found) for side, found in zip(options.crop, zip(*fitted, strict=True), strict=True)]
    return replace(options, crop=crop)


class Cropping:
    """Turns frames into samples of one size with the augmentation of training, and samples into batches.

    Args:
        options: of learning.
        fit: the size that images had in training before augmentation; None for their own.
        rng: draws the augmentation.
    """

    def __init__(self, options: Learning, fit: FitSize | None, rng: np.random.Generator) -> None:
        self._options, self._fit, self._rng = options, fit, rng
        self._transform = TrainTransform(options.crop, options.scale, options.flip, jitter=None)

    def sample(self, key: NDArray[np.uint8], image: NDArray[np.uint8], motion: MotionField) -> Sample:
        """One augmented pair; parts outside of images that are smaller than the crop are black, without motion."""
        unlabelled = np.zeros(image.shape[:2], np.uint8)
        sample = Sample(np.stack([key, image]), unlabelled, motion.field, motion.valid, 0, "")
        return self._transform(sample if self._fit is None else self._fit(sample), self._rng)


def batch_of(samples: Sequence[Sample]) -> ClipBatch:
    """Stack samples of one size."""
    return ClipBatch(**default_collate([to_tensors(sample) for sample in samples]))


def batches(
    sources: Sequence[Source], gop: int, options: Learning, fit: FitSize | None, steps: int, holds_out: bool, seed: int
) -> Iterator[ClipBatch]:
    """Batches for `steps` steps, the same ones for the same arguments.

    Each pass begins its keyframes elsewhere, so that frames are seen at all distances that the video allows. Videos
    are decoded anew in each pass; beside one frame, one motion field and a keyframe, `WAITING` pairs are in memory.

    Args:
        sources: in the order in which they are decoded.
        gop: frames from one keyframe to the next at most.
        options: of learning.
        fit: see `Cropping`.
        steps: batches.
        holds_out: leave the frames of `is_held_out` out.
        seed: of all that is drawn.

    Raises:
        UserError: no frame of the videos has a keyframe before it that motion leads to; or they cannot be read.
    """
    rng = np.random.default_rng(seed)
    cropping = Cropping(options, fit, rng)
    wanted, total = steps * options.batch_size, sum(source.count for source in sources)
    passes = min(max(FEWEST_PASSES, wanted // max(1, total)), gop)
    made = _passes(sources, gop, cropping, wanted / (passes * max(1, total)), holds_out, rng)
    pairs = _shuffled(made, min(WAITING, -(-wanted // 2)), rng)
    for _ in range(steps):
        yield batch_of(list(islice(pairs, options.batch_size)))


def _passes(
    sources: Sequence[Source], gop: int, cropping: Cropping, rate: float, holds_out: bool, rng: np.random.Generator
) -> Iterator[Sample]:
    """Pairs of pass after pass for ever, each frame `rate` times in the mean."""
    while True:
        usable = 0
        for source in sources:
            for key, image, motion in _pairs(source, gop, holds_out, int(rng.integers(gop))):
                usable += 1
                for _ in range(math.floor(rate + rng.random())):
                    yield cropping.sample(key, image, motion)
        if not usable:
            names = ", ".join(f"'{source.name}'" for source in sources[:3])
            raise UserError(
                f"source: {names} hold{'s' if len(sources) == 1 else ''} no frame to learn from: a frame that motion "
                "leads from to a keyframe before it; give longer videos, or others than of I frames alone"
            )


def _pairs(
    source: Source, gop: int, holds_out: bool, first: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], MotionField]]:
    """Keyframe, frame and motion of each frame between keyframes, the second keyframe `first` frames early."""
    keyed, key, key_index = KeyedMotion(gop, source.all_intra, early=first), None, 0
    for frame in source.frames():
        motion = keyed.update(frame)
        if motion is None:
            key, key_index = frame.image, frame.index
        elif key is not None and not (holds_out and any(is_held_out(n, gop) for n in (frame.index, key_index))):
            yield key, frame.image, motion


def _shuffled(samples: Iterator[Sample], count: int, rng: np.random.Generator) -> Iterator[Sample]:
    waiting = list(islice(samples, count))
    for sample in samples:
        place = int(rng.integers(len(waiting)))
        waiting[place], sample = sample, waiting[place]
        yield sample
