"""The loop: frames of a video through motion and network, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.pipeline import Feed
from src.video.types import Frame

AHEAD = 4  # frames; a keyframe takes as long as a few others


@dataclass(frozen=True)
class Milliseconds:
    """Time that one frame took, by step; steps of different frames may overlap.

    Attributes:
        decode: until the frame was there, estimated vectors included.
        motion: chaining its vectors to the keyframe; 0 for networks that follow no motion.
        network: from RGB to labels in main memory.
    """

    decode: float
    motion: float
    network: float


@dataclass(frozen=True)
class Segmented:
    """A frame and its labels.

    Attributes:
        labels: (H, W) uint8 class indices.
        is_key: whether the whole network ran, as on each frame of networks that follow no motion.
    """

    frame: Frame
    labels: NDArray[np.uint8]
    is_key: bool
    milliseconds: Milliseconds


def segment(
    frames: Iterable[Frame], runner: FrameRunner, keyed: KeyedMotion, ahead: int = 0
) -> Generator[Segmented, None, None]:
    """Each frame of the video with its labels, in display order; `keyed` is new and chooses the keyframes.

    Holds one frame, one motion field and one network state, whatever the length of the video, and the frames that a
    thread decodes `ahead`; with 0 there is no thread.
    """
    state = runner.init_state()
    with closing(Feed(timed(frames), ahead)) as decoded:
        for frame, decoding, _ in decoded:
            times = [perf_counter()]
            motion = keyed.update(frame) if runner.uses_motion else None
            times.append(perf_counter())
            labels, state = runner.step(frame.image, state, motion)
            times.append(perf_counter())
            spent = Milliseconds(*(1000 * float(step) for step in (decoding, *np.diff(times))))
            yield Segmented(frame, labels, motion is None, spent)
            del frame, motion, labels  # while waiting for the next, one more would be held


class Decoded(NamedTuple):
    """A decoded frame, the seconds that it took to make it, and when it was made (`perf_counter`)."""

    frame: Frame
    seconds: float
    at: float


def timed(frames: Iterable[Frame], clock: Callable[[], float] = perf_counter) -> Iterator[Decoded]:
    """Frames with the time that it took to make them by a clock."""
    iterator = iter(frames)
    while True:
        started = clock()
        frame = next(iterator, None)
        if frame is None:
            return
        yield Decoded(frame, clock() - started, perf_counter())
        del frame
