"""Read frames of any video by index, decoding from the keyframe before them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from src.errors import UserError
from src.video.reading.colour import to_rgb
from src.video.reading.container import open_video, visible_size
from src.video.reading.orientation import orientation_of


@dataclass(frozen=True)
class _Index:
    """Presentation times of all frames and of those that can be decoded first, ascending, in stream units."""

    times: tuple[int, ...]
    keys: tuple[int, ...]


def count_frames(path: Path) -> int:
    """Number of frames, from the packets rather than from what the container promises.

    Raises:
        UserError: no readable video, or one without times.
    """
    return len(_index_of(path).times)


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Frames start..stop - 1 in display order, (H, W, 3) uint8 RGB, upright; all from `start` on without `stop`.

    Any codec, and any frame rate, constant or not. Decoding starts at the keyframe before `start`.

    Raises:
        UserError: no such frames, damage, or a video without times.
    """
    index = _index_of(path)
    stop = len(index.times) if stop is None else stop
    if not 0 <= start < stop <= len(index.times):
        raise UserError(f"video '{path}' has {len(index.times)} frames, not {start}..{stop - 1}; give the whole video")
    at = start
    for image in _sound(path, index, start):
        yield image
        at += 1
        if at == stop:
            return
    raise UserError(f"video '{path}' is damaged at frame {at}: it does not decode; copy it again")


def _sound(path: Path, index: _Index, start: int) -> Iterator[NDArray[np.uint8]]:
    """Frames from `start` on, up to the first that is missing or that the decoder had to conceal."""
    container, stream = open_video(path)
    with container:
        height, width = visible_size(container, stream)
        if start:
            container.seek(index.keys[bisect_right(index.keys, index.times[start]) - 1], stream=stream)
        expected = iter(index.times[start:])
        with suppress(av.FFmpegError):
            for frame in container.decode(stream):
                if _time(frame) < index.times[start]:
                    continue
                if frame.is_corrupt or _time(frame) != next(expected, None):
                    return
                yield orientation_of(frame).image(to_rgb(frame)[:height, :width])


def _index_of(path: Path) -> _Index:
    if not path.is_file():
        raise UserError(f"video '{path}' is not a file; check data.root")
    status = path.stat()
    return _indexed(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _indexed(path: Path, size: int, modified: int) -> _Index:
    """Reads the file once, without decoding; `size` and `modified` tell versions of the file apart."""
    container, stream = open_video(path)
    with container:
        packets = []
        with suppress(av.FFmpegError):
            packets = [(_time(p), p.is_keyframe) for p in container.demux(stream) if p.size and not p.is_discard]
    keys = tuple(sorted(time for time, is_key in packets if is_key))
    times = tuple(sorted(time for time, _ in packets))
    if not keys or len(set(times)) < len(times):
        raise UserError(f"video '{path}' has no time stamp for each frame; convert it to .mp4")
    return _Index(times, keys)


def _time(of: av.Packet[VideoStream] | av.VideoFrame) -> int:
    """In stream units; AVI knows only decoding times."""
    time = of.dts if of.pts is None else of.pts
    return -1 if time is None else time
