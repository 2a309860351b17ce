"""Several videos through one network: frames of one kind and size that wait at the same time are one batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from threading import Condition
from time import perf_counter, thread_time
from typing import Any

import numpy as np

from src.inference.health import Health
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.segment import Decoded, Milliseconds, Segmented, timed
from src.models.video import state_layout
from src.pipeline import Feed, wait_for_any
from src.video.types import Frame, MotionField

LATEST = 250  # frames of a live source that may wait, all but the newest without their images
TICK = 1.0  # seconds in which no frame comes, before health is asked for again
PATIENCE = 2.0  # seconds for the thread of a live source, which may wait for data


@dataclass(frozen=True)
class Stream:
    """A video to be segmented, and what becomes of its results.

    Attributes:
        frames: of the video.
        keyed: new; chooses its keyframes.
        put: called with each result, in display order.
        end: called once: with None at the end of the video, or with the error of its frames or of `put`.
        stop: called before the frames are given up; makes a source end that waits for data.
        health: of a live source, else None; says whether frames are dropped.
    """

    frames: Iterable[Frame]
    keyed: KeyedMotion
    put: Callable[[Segmented], None]
    end: Callable[[Exception | None], None]
    stop: Callable[[], None] = lambda: None
    health: Health | None = None


@dataclass(eq=False)
class _Running:
    stream: Stream
    feed: Feed[Decoded]
    state: Any

    def close(self) -> None:
        self.stream.stop()
        self.feed.close(None if self.stream.health is None else PATIENCE)


@dataclass(frozen=True)
class _Waiting:
    running: _Running
    decoded: Decoded
    motion: MotionField | None
    chaining: float

    def kind(self) -> Hashable:
        """Of frames that can be one batch."""
        return self.motion is None, self.decoded.frame.image.shape, state_layout(self.running.state)


def segment_streams(streams: Iterable[Stream], runner: FrameRunner, at_once: int, ahead: int) -> None:
    """Label all frames of all streams, `at_once` streams at a time; the next one starts when one has ended.

    Results are those of each stream by itself, up to what a batch changes in the rounding of the network.

    Args:
        streams: made one by one as they are started.
        runner: of all streams.
        at_once: streams that are open at the same time.
        ahead: frames of each that a thread decodes ahead; with 0 there are no threads.
    """
    changed, waiting, running = Condition(), iter(streams), list[_Running]()
    try:
        while True:
            while len(running) < at_once and (stream := next(waiting, None)) is not None:
                running.append(_Running(stream, _feed(stream, ahead, changed), runner.init_state()))
            if not running:
                return
            wait_for_any([one.feed for one in running], changed, TICK)
            for one in running:
                if one.stream.health is not None:
                    one.stream.health.tick(len(one.feed))
            groups: dict[Hashable, list[_Waiting]] = {}
            for one in [one for one in running if one.feed.is_ready()]:
                item = _next(one, runner)
                if item is None:
                    running.remove(one)
                else:
                    groups.setdefault(item.kind(), []).append(item)
            for group in groups.values():
                for failed in _step(group, runner):
                    running.remove(failed)
    finally:
        for one in running:
            one.close()


def _feed(stream: Stream, ahead: int, changed: Condition) -> Feed[Decoded]:
    if stream.health is None:
        return Feed(timed(stream.frames), ahead, changed)
    # the time of its thread, as it mostly waits for the source
    frames = timed(stream.frames, thread_time)
    return Feed(frames, *((LATEST, changed, _without_image) if stream.health.drops else (max(1, ahead), changed)))


def _without_image(decoded: Decoded) -> Decoded:
    """Motion and size of a frame that the network will not see."""
    nothing = np.broadcast_to(np.zeros(1, np.uint8), decoded.frame.image.shape)
    return decoded._replace(frame=replace(decoded.frame, image=nothing))


def _next(one: _Running, runner: FrameRunner) -> _Waiting | None:
    """The next frame of a stream with its motion; None where the stream has ended."""
    health, chaining = one.stream.health, 0.0
    while True:
        try:
            decoded = next(one.feed)
        except StopIteration:
            one.close()
            one.stream.end(None)
            return None
        except Exception as error:
            one.close()
            one.stream.end(error)
            return None
        skipped = health is not None and health.drops and len(one.feed) > 0
        began = perf_counter()
        motion = one.stream.keyed.update(decoded.frame, skipped) if runner.uses_motion else None
        chaining += perf_counter() - began
        if not skipped:
            return _Waiting(one, decoded, motion, chaining)
        if health is not None:
            health.dropped += 1


def _step(group: list[_Waiting], runner: FrameRunner) -> list[_Running]:
    """Label a batch and hand the results on; return the streams whose results could not be."""
    began, failed = perf_counter(), []
    results = runner.step_batch(
        [item.decoded.frame.image for item in group],
        [item.running.state for item in group],
        [item.motion for item in group],
    )
    network = (perf_counter() - began) / len(group)
    for item, (labels, state) in zip(group, results, strict=True):
        stream, decoded = item.running.stream, item.decoded
        item.running.state = state
        spent = Milliseconds(*(1000 * step for step in (decoded.seconds, item.chaining, network)))
        if stream.health is not None:
            stream.health.add(perf_counter() - decoded.at)
        try:
            stream.put(Segmented(decoded.frame, labels, item.motion is None, spent))
        except Exception as error:
            item.running.close()
            stream.end(error)
            failed.append(item.running)
    return failed
