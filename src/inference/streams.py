"""Several videos through one network: frames of one kind and size that wait at the same time are one batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from threading import Condition
from time import perf_counter
from typing import Any

from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.segment import Milliseconds, Segmented, timed
from src.models.video import state_layout
from src.pipeline import Feed, wait_for_any
from src.video.types import Frame, MotionField


@dataclass(frozen=True)
class Stream:
    """A video to be segmented, and what becomes of its results.

    Attributes:
        frames: of the video.
        keyed: new; chooses its keyframes.
        put: called with each result, in display order.
        end: called once: with None at the end of the video, or with the error of its frames or of `put`.
    """

    frames: Iterable[Frame]
    keyed: KeyedMotion
    put: Callable[[Segmented], None]
    end: Callable[[Exception | None], None]


@dataclass
class _Running:
    stream: Stream
    feed: Feed[tuple[Frame, float]]
    state: Any


@dataclass(frozen=True)
class _Waiting:
    running: _Running
    frame: Frame
    motion: MotionField | None
    decoding: float
    chaining: float

    def kind(self) -> Hashable:
        """Of frames that can be one batch."""
        return self.motion is None, self.frame.image.shape, state_layout(self.running.state)


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
                feed = Feed(timed(stream.frames), ahead, changed)
                running.append(_Running(stream, feed, runner.init_state()))
            if not running:
                return
            wait_for_any([one.feed for one in running], changed)
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
            one.feed.close()


def _next(one: _Running, runner: FrameRunner) -> _Waiting | None:
    """The next frame of a stream with its motion; None where the stream has ended."""
    try:
        frame, decoding = next(one.feed)
    except StopIteration:
        one.feed.close()
        one.stream.end(None)
        return None
    except Exception as error:
        one.feed.close()
        one.stream.end(error)
        return None
    began = perf_counter()
    motion = one.stream.keyed.update(frame) if runner.uses_motion else None
    return _Waiting(one, frame, motion, decoding, perf_counter() - began)


def _step(group: list[_Waiting], runner: FrameRunner) -> list[_Running]:
    """Label a batch and hand the results on; return the streams whose results could not be."""
    began, failed = perf_counter(), []
    results = runner.step_batch(
        [item.frame.image for item in group], [item.running.state for item in group], [item.motion for item in group]
    )
    network = (perf_counter() - began) / len(group)
    for item, (labels, state) in zip(group, results, strict=True):
        item.running.state = state
        spent = Milliseconds(*(1000 * step for step in (item.decoding, item.chaining, network)))
        try:
            item.running.stream.put(Segmented(item.frame, labels, item.motion is None, spent))
        except Exception as error:
            item.running.feed.close()
            item.running.stream.end(error)
            failed.append(item.running)
    return failed
