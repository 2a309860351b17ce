"""Frames between two keyframes labelled from both, for videos whose later frames are there."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.segment import Milliseconds, Segmented, timed
from src.inference.streams import Stream
from src.pipeline import Feed
from src.video.motion.field import MotionChain
from src.video.reading.damage import DecodedFrame
from src.video.types import Frame, MotionField
from src.video.vectors.block_search import with_estimated_vectors
from src.video.vectors.transcoded import Transcoder


class _Key(NamedTuple):
    frame: Frame
    state: Any
    brightness: Tensor


class _Waiting(NamedTuple):
    frame: Frame
    motion: MotionField  # to the keyframe before
    warp_only: bool
    spent: Milliseconds


def segment_two_sided(
    frames: Iterable[Frame], runner: FrameRunner, keyed: KeyedMotion, ahead: int = 0
) -> Generator[Segmented, None, None]:
    """Each frame of the video with its labels, in display order; arguments as of `src.inference.segment.segment`.

    A frame between two keyframes is moved to from both, see `src.models.two_sided.coarse_between`: no network looks at
    it. Motion to the later keyframe comes from encoding the frames backwards (`Transcoder`), as a video has vectors to
    earlier frames alone. After the last keyframe there is one side, and frames are labelled as `keyed` plans it.

    It holds the frames from one keyframe to the next with a motion field each, so `keyed` needs a limit.
    """
    past: _Key | None = None
    waiting: list[_Waiting] = []
    with closing(Feed(timed(frames), ahead)) as decoded:
        for frame, decoding, _ in decoded:
            started = perf_counter()
            plan = keyed.plan(frame)
            planned = perf_counter()
            spent = Milliseconds(1000 * decoding, 1000 * (planned - started), 0.0)
            if plan.motion is not None:
                waiting.append(_Waiting(frame, plan.motion, plan.warp_only, spent))
                continue
            labels, state = runner.step(frame.image, runner.init_state(), None)
            following = _Key(frame, state, runner.brightness(frame.image))
            spent = replace(spent, network=1000 * (perf_counter() - planned))
            if past is not None:
                same_size = past.frame.image.shape == frame.image.shape
                yield from _between(past, following, waiting, runner) if same_size else _after(past, waiting, runner)
            yield Segmented(frame, labels, True, spent)
            past, waiting = following, []
    if past is not None:
        yield from _after(past, waiting, runner)


def segment_each_two_sided(streams: Iterable[Stream], runner: FrameRunner, ahead: int) -> None:
    """Label all frames of one stream after the other by `segment_two_sided`; a stream that fails is ended with why."""
    for stream in streams:
        try:
            for found in segment_two_sided(stream.frames, runner, stream.keyed, ahead):
                stream.put(found)
        except Exception as error:
            stream.end(error)
        else:
            stream.end(None)


def _between(past: _Key, following: _Key, waiting: list[_Waiting], runner: FrameRunner) -> Iterator[Segmented]:
    found: list[Segmented] = []
    later = _motion_to(following.frame, [item.frame for item in reversed(waiting)])
    for number in range(len(waiting), 0, -1):
        item, started = waiting[number - 1], perf_counter()
        to_following = next(later)
        moved = perf_counter()
        share = number / (len(waiting) + 1)
        sides = [(past, item.motion, 1 - share), (following, to_following, share)]
        labels = runner.label_between(item.frame.image, [(k.state, k.brightness, *rest) for k, *rest in sides])
        spent = replace(
            item.spent,
            motion=item.spent.motion + 1000 * (moved - started),
            network=1000 * (perf_counter() - moved),
        )
        found.append(Segmented(item.frame, labels, False, spent, warp_only=True))
    yield from reversed(found)


def _after(past: _Key, waiting: list[_Waiting], runner: FrameRunner) -> Iterator[Segmented]:
    for item in waiting:
        started = perf_counter()
        labels, _ = runner.step(item.frame.image, past.state, item.motion, warp_only=item.warp_only)
        spent = replace(item.spent, network=1000 * (perf_counter() - started))
        yield Segmented(item.frame, labels, False, spent, item.warp_only)


def _motion_to(key: Frame, backwards: list[Frame]) -> Iterator[MotionField]:
    """Motion of each frame to a later keyframe, from the frame before that back in time."""
    chain = MotionChain()
    order = [key, *backwards]
    coded = (DecodedFrame(_as_decoded(frame.image), n, False) for n, frame in enumerate(order))
    for frame, (_, vectors) in zip(order, with_estimated_vectors(coded, Transcoder), strict=True):
        motion = chain.update(replace(frame, vectors=vectors, frame_type="P"))
        if frame is not key:
            yield motion


def _as_decoded(image: NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(image, format="rgb24")
