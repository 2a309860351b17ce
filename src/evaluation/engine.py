"""Choose the engine of an evaluation's networks, the same for all systems and processes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from src.data.clips.table import Clip
from src.data.datasets.base import LabelledImage
from src.data.module import ClipDataModule
from src.distributed import from_first, rank_and_world_size, together
from src.errors import UserError
from src.evaluation.systems import REMEDY
from src.inference.engine.options import CALIBRATION_IMAGES, PLAIN, Engine
from src.inference.runner import FrameRunner
from src.video.reading.decode import Video


class OneEngine:
    """Puts all systems, in all processes, on the engine that was asked for; the first process chooses on the first.

    Args:
        engine: asked for.
        threads: of this process.
        module: whose training images calibrate int8.
        scored: an image that is scored, to choose on.

    Attributes:
        engine: asked for, then chosen.
    """

    def __init__(
        self, engine: Engine, threads: int, module: ClipDataModule, scored: Callable[[], NDArray[np.uint8]]
    ) -> None:
        self.engine, self._threads = engine, threads
        self._images = functools.cache(lambda: _calibration(module) if engine.precision == "int8" else [scored()])

    def __call__(self, runner: FrameRunner) -> None:
        """Put a system on the engine."""
        if self.engine == PLAIN:
            return
        if "auto" in self.engine:
            is_first = rank_and_world_size()[0] == 0
            chosen = together(lambda: self._put(runner) if is_first else self.engine)
            self.engine = from_first(chosen)
        together(lambda: self._put(runner))

    def _put(self, runner: FrameRunner) -> Engine:
        return runner.tune(self._images(), *self.engine, self._threads)


def _calibration(module: ClipDataModule) -> list[NDArray[np.uint8]]:
    """Images (H, W, 3) from all over the training split: still ones, or the keyframes of its clips."""
    stills = module.images(module.train_split)
    if stills:
        return [still.read()[0] for still in stills[:: -(-len(stills) // CALIBRATION_IMAGES)]]
    clips = module.prepared(module.train_split)
    return [key_image(clips[n]) for n in range(0, len(clips), -(-len(clips) // CALIBRATION_IMAGES))]


def key_image(clip: Clip) -> NDArray[np.uint8]:
    """Return the first frame (H, W, 3) of a clip."""
    return next(iter(Video(clip.video, motion="none", remedy=REMEDY))).image


def first_readable(stills: list[LabelledImage]) -> NDArray[np.uint8]:
    """Return the first image (H, W, 3) that can be read.

    Raises:
        UserError: none can.
    """
    for still in stills:
        with suppress(UserError):
            return still.read()[0]
    raise UserError("no image is left: all are damaged; replace them")
