"""Several videos through one network: on a GPU in batches, on a CPU each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import Condition
from time import perf_counter, thread_time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.inference.health import Health
from src.inference.keyframes import KeyedMotion, Plan
from src.inference.runner import FrameRunner
from src.inference.segment import Decoded, Milliseconds, Segmented, VideoRun, timed
from src.models.video import state_layout
from src.pipeline import Feed
from src.video.types import Frame

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


class _Labelled(NamedTuple):
    labels: NDArray[np.uint8]
    seconds: float


@dataclass(eq=False)
class _Running:
    stream: Stream
    feed: Feed[Decoded]
    run: VideoRun
    step: tuple[_Waiting, Future[list[_Labelled]]] | None = None  # in another thread

    def is_ready(self) -> bool:
        return self.feed.is_ready() if self.step is None else self.step[1].done()

    def close(self) -> None:
        self.stream.stop()
        self.feed.close(None if self.stream.health is None else PATIENCE)


@dataclass(frozen=True)
class _Waiting:
    running: _Running
    decoded: Decoded
    plan: Plan
    chaining: float

    def kind(self) -> Hashable:
        """Of frames that can be one batch."""
        plan, state = self.plan, self.running.run.state
        return plan.motion is None, plan.warp_only, self.decoded.frame.image.shape, state_layout(state)


def segment_streams(streams: Iterable[Stream], runner: FrameRunner, at_once: int, ahead: int, workers: int = 1) -> None:
    """Label all frames of all streams, `at_once` streams at a time; the next one starts when one has ended.

    Results are those of each stream by itself, up to what a batch changes in the rounding of the network.

    Args:
        streams: made one by one as they are started.
        runner: of all streams.
        at_once: streams that are open at the same time.
        ahead: frames of each that a thread decodes ahead; with 0 there are no threads.
        workers: threads that run the network, each on a frame of another stream. With 1 it runs in the calling thread,
            and frames of one kind and size that wait at the same time are one batch.
    """
    changed, waiting, running = Condition(), iter(streams), list[_Running]()
    with ExitStack() as stack:
        stack.callback(_close_all, running)
        pool = stack.enter_context(ThreadPoolExecutor(workers)) if workers > 1 else None
        while True:
            while len(running) < at_once and (stream := next(waiting, None)) is not None:
                running.append(_Running(stream, _feed(stream, ahead, changed), VideoRun(runner, stream.keyed)))
            if not running:
                return
            with changed:
                changed.wait_for(lambda: any(one.is_ready() for one in _open(running, workers)), TICK)
            for one in running:
                if one.stream.health is not None:
                    one.stream.health.tick(len(one.feed))
            for done, future in [one.step for one in running if one.step is not None and one.is_ready()]:
                done.running.step = None
                if not _hand_over(done, *future.result()):
                    running.remove(done.running)
            groups: dict[Hashable, list[_Waiting]] = {}
            for one in list(running):
                if one.step is not None or one not in _open(running, workers) or not one.is_ready():
                    continue
                item = _next(one)
                running.remove(one)
                if item is None:
                    continue
                running.append(one)  # behind those that wait for a worker
                if pool is None:
                    groups.setdefault(item.kind(), []).append(item)
                else:
                    future = pool.submit(_label, [item], runner)
                    one.step = item, future
                    future.add_done_callback(lambda _: _notify(changed))
            for group in groups.values():
                for item, labelled in zip(group, _label(group, runner), strict=True):
                    if not _hand_over(item, labelled):
                        running.remove(item.running)


def _open(running: list[_Running], workers: int) -> list[_Running]:
    """The streams whose next event can be answered: without a free worker, only those that occupy one."""
    busy = [one for one in running if one.step is not None]
    return busy if len(busy) == workers else running


def _close_all(running: list[_Running]) -> None:
    for one in running:
        one.close()


def _notify(changed: Condition) -> None:
    with changed:
        changed.notify_all()


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


def _next(one: _Running) -> _Waiting | None:
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
        plan = one.run.plan(decoded.frame, skipped)
        chaining += perf_counter() - began
        if not skipped:
            return _Waiting(one, decoded, plan, chaining)
        if health is not None:
            health.dropped += 1


def _label(group: list[_Waiting], runner: FrameRunner) -> list[_Labelled]:
    began = perf_counter()
    results = runner.step_batch(
        [item.decoded.frame.image for item in group],
        [item.running.run.state for item in group],
        [item.plan.motion for item in group],
        warp_only=group[0].plan.warp_only,
    )
    seconds = (perf_counter() - began) / len(group)
    for item, (labels, after) in zip(group, results, strict=True):
        item.running.run.settle(item.decoded.frame.image, item.plan, labels, after, seconds)
    seconds = (perf_counter() - began) / len(group)
    return [_Labelled(labels, seconds) for labels, _ in results]


def _hand_over(item: _Waiting, labelled: _Labelled) -> bool:
    """Put the result; return whether that could be done, else the stream has ended."""
    stream, decoded = item.running.stream, item.decoded
    spent = Milliseconds(*(1000 * step for step in (decoded.seconds, item.chaining, labelled.seconds)))
    if stream.health is not None:
        stream.health.add(perf_counter() - decoded.at)
    try:
        stream.put(Segmented(decoded.frame, labelled.labels, item.plan.motion is None, spent, item.plan.warp_only))
    except Exception as error:
        item.running.close()
        stream.end(error)
        return False
    return True
