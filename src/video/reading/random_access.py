"""Read frames of any video by index, decoding from a keyframe before them where that gives the same frames."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from src.errors import UserError
from src.video.reading.container import open_video, packets_of
from src.video.reading.damage import DamageDetector
from src.video.reading.decode import Video

# One shown frame in each packet, unless the first `_PROBED` frames disagree; packets of other codecs may hide frames.
_ONE_EACH = ("h264", "hevc", "vp9", "av1", "mpeg1video", "mpeg2video")
_PROBED = 24

Times = tuple[int | None, ...]


@dataclass(frozen=True)
class _Index:
    """Frames of a video, as they are displayed.

    Attributes:
        video: whose `info` turns decoded frames into images.
        times: of the frames, in stream units.
        keys: times at which decoding may start, ascending; none where times do not tell frames apart.
    """

    video: Video
    times: Times
    keys: tuple[int, ...]


def count_frames(path: Path) -> int:
    """Number of frames that decoding the whole video gives, never what its container states.

    Raises:
        UserError: no readable video.
    """
    return len(_index_of(path).times)


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Frames start..stop - 1 in display order, (H, W, 3) uint8 RGB, upright; all from `start` on without `stop`.

    The same frames as of `Video`, for any codec and any frame rate, constant or not. Decoding starts at the keyframe
    before `start`; where that gives other frames, at an earlier one, and in the end at the first.

    Raises:
        UserError: no such frames, or damage.
    """
    index = _index_of(path)
    stop = len(index.times) if stop is None else stop
    if not 0 <= start < stop <= len(index.times):
        raise UserError(f"video '{path}' has {len(index.times)} frames, not {start}..{stop - 1}; give the whole video")
    at = start
    for earlier in range(2):
        for frame in islice(_from_key(index, at, earlier), stop - at):
            yield index.video.info.image(frame)
            at += 1
        if at == stop:
            return
    for frame in islice(_from_first(index, at), stop - at):
        yield index.video.info.image(frame)
        at += 1
    if at < stop:
        raise UserError(f"video '{path}' is damaged at frame {at}: it does not decode; copy it again")


def _from_key(index: _Index, start: int, earlier: int) -> Iterator[av.VideoFrame]:
    """Frames from `start` on, up to the first that is not the one expected, or that the decoder had to conceal.

    Args:
        index: of the video.
        start: index of the first frame.
        earlier: so many keyframes before the last one before `start`, decoding starts.
    """
    wanted = index.times[start]
    key = bisect_right(index.keys, wanted or 0) - 1 - earlier
    if key < 0 or wanted is None:
        return
    container, stream = open_video(index.video.path)
    with container, suppress(av.FFmpegError):  # raw streams cannot be searched, damaged frames raise
        if start:
            container.seek(index.keys[key], stream=stream)
        expected = iter(index.times[start:])
        is_started = False
        for frame in container.decode(stream):
            time = _time(frame, _is_slotted(container))
            is_started |= time == index.keys[key] and frame.key_frame  # some containers seek to another place
            if is_started and frame.is_corrupt:
                return
            if time is not None and time < wanted:
                continue
            if not is_started or time != next(expected, None):
                return
            yield frame


def _from_first(index: _Index, start: int) -> Iterator[av.VideoFrame]:
    """Frames from `start` on, up to the first that is damaged, all before them decoded too."""
    container, stream = open_video(index.video.path)
    with container:
        for coded in DamageDetector(index.video.path, container, stream, "mark"):
            if coded.index < start:
                continue
            if coded.damaged or coded.index != start:
                return
            yield coded.frame
            start += 1


def _index_of(path: Path) -> _Index:
    if not path.is_file():
        raise UserError(f"video '{path}' is not a file; check data.root")
    status = path.stat()
    return _indexed(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _indexed(path: Path, size: int, modified: int) -> _Index:
    """Reads the file once, decoded where packets do not tell its frames; `size` and `modified` tell versions apart."""
    video = Video(path, "none")
    container, stream = open_video(path)
    with container:
        slotted = _is_slotted(container)
        found = [
            (_time(packet, slotted), packet.is_keyframe, packet.is_discard)
            for packet in packets_of(container, stream)
            if packet.size
        ]
        codec = stream.codec_context.codec
    times = _ascending([time for time, *_ in found])
    probed, searchable = _displayed(path, _PROBED)
    one_each = codec.intra_only or codec.canonical_name in _ONE_EACH
    hidden = any(is_discard for *_, is_discard in found)
    if not one_each or hidden or not searchable or times[:_PROBED] != probed:
        times, searchable = _displayed(path, None)
    keys = sorted(time for time, is_key, _ in found if is_key and time is not None)
    known = tuple(time for time in times if time is not None)  # of frames that are not lost
    return _Index(video, times, tuple(keys) if searchable and known == _ascending(known) else ())


def _ascending(times: Sequence[int | None]) -> Times:
    """Sorted and each once; those that are missing left out."""
    return tuple(sorted({time for time in times if time is not None}))


def _displayed(path: Path, count: int | None) -> tuple[Times, bool]:
    """Decode `count` frames, or all: their times, None of lost ones, and whether they are the frames' own."""
    container, stream = open_video(path)
    times: list[int | None] = []
    searchable = True
    with container:
        for coded in islice(DamageDetector(path, container, stream, "mark"), count):
            times += [None] * (coded.index - len(times))
            times.append(coded.frame.pts)
            searchable &= not coded.is_slotted
    return tuple(times), searchable


def _is_slotted(container: InputContainer) -> bool:
    return container.format.name == "avi"


def _time(of: av.Packet[VideoStream] | av.VideoFrame, slotted: bool) -> int | None:
    """In stream units; AVI knows only decoding times."""
    return of.dts if slotted else of.pts
