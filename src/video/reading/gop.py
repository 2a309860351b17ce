"""Read one keyframe and the frames after it from a clip with exact GOPs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from src.errors import UserError
from src.video.motion.field import extend, identity
from src.video.reading.colour import to_rgb
from src.video.reading.container import open_video, visible_size
from src.video.reading.damage import DecodedFrame
from src.video.types import Frame, MotionField
from src.video.vectors.block_search import with_estimated_vectors
from src.video.vectors.exported import NO_ROWS, ExactVectors

ClipMotion = Literal["exact", "estimate", "none"]


@dataclass(frozen=True)
class KeyedFrame:
    """A frame, its keyframe and the motion between them.

    Attributes:
        key, image: (H, W, 3) uint8 RGB; the same where the frame is the keyframe.
        motion: from the frame to the keyframe.
    """

    key: NDArray[np.uint8]
    image: NDArray[np.uint8]
    motion: MotionField


def read_gop(path: Path, key_index: int, last_index: int, motion: ClipMotion = "exact") -> list[Frame]:
    """Frames key_index..last_index of a video written by `encode`, the first of them an I frame.

    Decodes nothing before the keyframe and nothing after last_index, with one thread. Later I frames in the
    range are allowed; their `vectors` are None, as those of the first.

    Args:
        path: of the video.
        key_index, last_index: of frames, both included.
        motion: "exact" takes the codec's vectors, "estimate" searches blocks in the decoded frames, "none" neither.

    Raises:
        UserError: no I frame at key_index, fewer frames than last_index, damage, or no exact vectors.
    """
    container, stream = open_video(path, coded_here=True)
    with container:
        size = visible_size(container, stream)
        coded = _coded(path, container, stream, key_index, last_index)
        return [
            Frame(
                _rgb(one.frame, size),
                "I" if _is_key(one.frame) else "P",
                vectors,
                Fraction(one.index) / _rate(stream),
                one.index,
            )
            for one, vectors in _with_vectors(path, coded, stream, motion)
        ]


def read_keyed(path: Path, key_index: int, index: int, motion: ClipMotion = "exact") -> KeyedFrame:
    """Frame `index` of a video written by `encode`, with the latest keyframe and the motion chained to it.

    Converts two frames to RGB however far apart they are. Arguments and errors as of `read_gop`.
    """
    container, stream = open_video(path, coded_here=True)
    with container:
        size = visible_size(container, stream)
        key = current = None
        to_key, spare = identity(*size), identity(*size)
        coded = _coded(path, container, stream, key_index, index)
        for one, vectors in _with_vectors(path, coded, stream, motion):
            current = one.frame
            if _is_key(current):
                key, to_key = current, identity(*size)
            elif motion != "none":
                to_key, spare = extend(to_key, NO_ROWS if vectors is None else vectors, spare), to_key
        assert key is not None  # _coded gives a keyframe first, or raises
        assert current is not None
        return KeyedFrame(_rgb(key, size), _rgb(current, size), to_key)


def _with_vectors(
    path: Path, coded: Iterator[DecodedFrame], stream: VideoStream, motion: ClipMotion
) -> Iterator[tuple[DecodedFrame, NDArray[np.float32] | None]]:
    if motion == "exact":
        exact = ExactVectors(path, stream)
        if exact.reason:
            raise UserError(
                f"video '{path}' has no exact motion vectors: {exact.reason}; set video.motion=estimate, or code it "
                "as h264"
            )
        exact.request(stream)
        return ((one, None if _is_key(one.frame) else exact.of(one.frame, one.index)) for one in coded)
    if motion == "none":
        return ((one, None) for one in coded)
    estimated = with_estimated_vectors(coded)
    return ((one, None if _is_key(one.frame) else vectors) for one, vectors in estimated)


def _coded(
    path: Path, container: InputContainer, stream: VideoStream, key_index: int, last_index: int
) -> Iterator[DecodedFrame]:
    start = stream.start_time or 0
    ticks = 1 / (_rate(stream) * Fraction(stream.time_base or 1))
    container.seek(start + round(key_index * ticks), stream=stream)
    index = key_index
    for frame in _sound(container, stream):
        at = -1 if frame.pts is None else round((frame.pts - start) / ticks)
        if at != index or (index == key_index and not _is_key(frame)):
            break
        yield DecodedFrame(frame, index, False)
        if index == last_index:
            return
        index += 1
    raise UserError(
        f"video '{path}' has no intact frame {index} after an I frame at {key_index}; "
        "remove it, and it is encoded again"
    )


def _sound(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Frames up to the first that the decoder had to conceal or could not decode."""
    try:
        yield from takewhile(lambda frame: not frame.is_corrupt, container.decode(stream))
    except av.FFmpegError:
        return


def _rate(stream: VideoStream) -> Fraction:
    return Fraction(stream.average_rate or 25)


def _rgb(frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(to_rgb(frame)[: size[0], : size[1]])


def _is_key(frame: av.VideoFrame) -> bool:
    return frame.pict_type == PictureType.I
