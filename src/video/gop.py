"""Random access to clips of exact GOPs, as a data loader needs it: one keyframe and the frames after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from src.errors import UserError
from src.video.colour import to_rgb
from src.video.container import open_film, visible_size
from src.video.motion import extend, identity
from src.video.types import Frame, Motion
from src.video.vectors import exported_vectors, request_vectors, why_inexact


@dataclass(frozen=True)
class KeyedFrame:
    """A frame, its keyframe and the motion between them.

    Attributes:
        key, image: (H, W, 3) uint8 RGB; the same where the frame is the keyframe.
        motion: from the frame to the keyframe.
    """

    key: NDArray[np.uint8]
    image: NDArray[np.uint8]
    motion: Motion


def read_gop(path: Path, key_index: int, last_index: int) -> list[Frame]:
    """Frames key_index..last_index of a film written by `encode`, the first of them an I frame.

    Decodes nothing before the keyframe and nothing after last_index, with one thread. Later I frames in the
    range are allowed; their `vectors` are None, as those of the first.

    Raises:
        UserError: no I frame at key_index, fewer frames than last_index, damage, or no exact vectors.
    """
    container, stream = open_film(path)
    with container:
        size = visible_size(container, stream)
        return [
            Frame(_rgb(picture, size), _type(vectors), vectors, Fraction(index) / _rate(stream), index)
            for index, picture, vectors in _pictures(path, container, stream, key_index, last_index)
        ]


def read_keyed(path: Path, key_index: int, index: int) -> KeyedFrame:
    """Frame `index` of a film written by `encode`, with the latest keyframe and the motion chained to it.

    Converts two pictures to RGB however far apart they are. Raises as `read_gop`.
    """
    container, stream = open_film(path)
    with container:
        size = visible_size(container, stream)
        key = picture = None
        motion = identity(*size)
        for _, picture, vectors in _pictures(path, container, stream, key_index, index):
            if vectors is None:
                key, motion = picture, identity(*size)
            else:
                motion = extend(motion, vectors)
        assert key is not None  # _pictures gives a keyframe first, or raises
        assert picture is not None
        return KeyedFrame(_rgb(key, size), _rgb(picture, size), motion)


def _pictures(
    path: Path, container: InputContainer, stream: VideoStream, key_index: int, last_index: int
) -> Iterator[tuple[int, av.VideoFrame, NDArray[np.float32] | None]]:
    reason = why_inexact(stream)
    if reason:
        raise UserError(f"film '{path}' has no exact motion vectors: {reason}; write it with src.video.encode")
    request_vectors(stream)
    start = stream.start_time or 0
    ticks = 1 / (_rate(stream) * Fraction(stream.time_base or 1))
    container.seek(start + round(key_index * ticks), stream=stream)
    index = key_index
    for picture in _sound(container, stream):
        at = -1 if picture.pts is None else round((picture.pts - start) / ticks)
        is_key = picture.pict_type == av.video.frame.PictureType.I
        if at != index or (index == key_index and not is_key):
            break
        yield index, picture, None if is_key else exported_vectors(picture, (0, 0))
        if index == last_index:
            return
        index += 1
    raise UserError(
        f"film '{path}' gives no sound frame {index} after an I frame at {key_index}; "
        "encode it again with the GOP that the data set expects"
    )


def _sound(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Pictures up to the first that the decoder had to conceal or could not decode."""
    try:
        yield from takewhile(lambda picture: not picture.is_corrupt, container.decode(stream))
    except av.FFmpegError:
        return


def _rate(stream: VideoStream) -> Fraction:
    return Fraction(stream.average_rate or 25)


def _rgb(picture: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(to_rgb(picture)[: size[0], : size[1]])


def _type(vectors: NDArray[np.float32] | None) -> str:
    return "I" if vectors is None else "P"
