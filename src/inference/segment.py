"""The loop: frames of a video through motion and network, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.inference.keyframes import KeyedMotion, Plan
from src.inference.runner import FrameRunner
from src.pipeline import Feed
from src.video.types import Frame

EACH = Plan(None)  # of methods that follow no motion
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
        warp_only: whether no network looked at the frame.
    """

    frame: Frame
    labels: NDArray[np.uint8]
    is_key: bool
    milliseconds: Milliseconds
    warp_only: bool = False


class VideoRun:
    """A method on the frames of one video.

    Args:
        runner: of the method.
        keyed: new; chooses the keyframes.

    Attributes:
        state: after the latest frame.
    """

    def __init__(self, runner: FrameRunner, keyed: KeyedMotion) -> None:
        self._runner, self._keyed = runner, keyed
        self.state: Any = runner.init_state()
        self._planning = 0.0  # seconds since the latest frame that was labelled

    def plan(self, frame: Frame, skipped: bool = False) -> Plan:
        """Return what is done with the next frame; of a skipped one only its motion is used."""
        if not self._runner.uses_motion:
            return EACH
        began = perf_counter()
        plan = self._keyed.plan(frame, skipped)
        self._planning += perf_counter() - began
        return plan

    def step(self, image: NDArray[np.uint8], plan: Plan) -> tuple[NDArray[np.uint8], Any]:
        """Label a planned frame; arguments and results as of `FrameRunner.step`, the state kept by `settle`."""
        return self._runner.step(image, self.state, plan.motion, warp_only=plan.warp_only)

    def settle(
        self, image: NDArray[np.uint8], plan: Plan, labels: NDArray[np.uint8], after: Any, seconds: float
    ) -> None:
        """Keep the state after a frame, and let what chooses the keyframes learn from the frame.

        Args:
            image: (H, W, 3) RGB.
            plan: of the frame.
            labels: found by it.
            after: state after it.
            seconds: that `step` took.
        """
        began = perf_counter()
        if plan.probe is not None:
            warped, _ = self._runner.step(image, self.state, plan.probe, warp_only=True)
            nonkey = self._runner.step(image, self.state, plan.probe)[0] if plan.probe_nonkey else None
            self._keyed.learn(_unequal(warped, labels), None if nonkey is None else _unequal(nonkey, labels))
        self.state = after
        milliseconds = (1000 * value for value in (self._planning, seconds, seconds + perf_counter() - began))
        self._keyed.took(plan, *milliseconds)
        self._planning = 0.0


def segment(
    frames: Iterable[Frame], runner: FrameRunner, keyed: KeyedMotion, ahead: int = 0
) -> Generator[Segmented, None, None]:
    """Each frame of the video with its labels, in display order; `keyed` is new and chooses the keyframes.

    Holds one frame, one motion field and one network state, whatever the length of the video, and the frames that a
    thread decodes `ahead`; with 0 there is no thread.
    """
    run = VideoRun(runner, keyed)
    with closing(Feed(timed(frames), ahead)) as decoded:
        for frame, decoding, _ in decoded:
            times = [perf_counter()]
            plan = run.plan(frame)
            times.append(perf_counter())
            labels, after = run.step(frame.image, plan)
            run.settle(frame.image, plan, labels, after, perf_counter() - times[-1])
            times.append(perf_counter())
            spent = Milliseconds(*(1000 * float(step) for step in (decoding, *np.diff(times))))
            yield Segmented(frame, labels, plan.motion is None, spent, plan.warp_only)
            del frame, plan, labels, after  # while waiting for the next, one more would be held


def _unequal(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return np.count_nonzero(one != other) / one.size


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
