"""Open video files, and report in one line what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from src.errors import MAX_PIXELS, UserError, check_pixels

_EBML, _SEGMENT, _OGG = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"OggS"
LIMITS = {"max_pixels": str(MAX_PIXELS)}  # of the decoder
_OGG_PAGE = 65307  # bytes at most
_VISIBLE = re.compile(r"visible size (\d{1,5})x(\d{1,5})")


def open_video(path: Path, threads: int = 1, coded_here: bool = False) -> tuple[InputContainer, VideoStream]:
    """The container, to be closed by the caller, and its video stream.

    Of several video streams it is the default one, else the largest, as FFmpeg chooses. Tags are not needed: those
    that are not UTF-8 do not matter.

    Args:
        path: of the video.
        threads: of the decoder.
        coded_here: by `encode`, whose headers say all; else FFmpeg decodes the first frame to find out the rest.

    Raises:
        UserError: no such file, empty, unreadable, a still image, or without a video stream.
    """
    if not path.is_file():
        raise UserError(f"video '{path}' is not a file; check the path")
    if path.stat().st_size == 0:
        raise UserError(f"video '{path}' is empty (0 bytes); copy or encode it again")
    try:
        skip: Any = [{"skip_frame": "all"}] if coded_here else None  # not taken by formats that find streams late
        container = av.open(str(path), metadata_errors="replace", options=LIMITS, stream_options=skip)
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f"video '{path}' cannot be read ({reason(error)}): no video, cut short or corrupt; copy it again"
        ) from error
    try:
        return container, _video_stream(container, path, threads)
    except BaseException:
        container.close()
        raise


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """Packets up to the end of the file, or to where it cannot be read any further."""
    with suppress(av.FFmpegError):
        yield from container.demux(stream)


def first_frame(container: InputContainer, stream: VideoStream) -> av.VideoFrame | None:
    """The first frame that decodes; None where no frame does."""
    for packet in packets_of(container, stream):
        with suppress(av.FFmpegError):
            for frame in packet.decode():
                return frame
    return None


def side_data(frame: av.VideoFrame, kind: str) -> Any:
    """Side data of a decoded frame by PyAV's name; None without it, or beside side data that PyAV does not know."""
    try:
        return frame.side_data.get(kind)
    except ValueError:
        return None


def visible_size(container: InputContainer, coded: VideoStream | av.VideoFrame) -> tuple[int, int]:
    """(height, width) as coded minus the padding that `encode` adds to odd sizes and notes in the comment."""
    for key, value in container.metadata.items():
        found = _VISIBLE.fullmatch(value) if key.lower() == "comment" else None
        if found:
            width, height = int(found[1]), int(found[2])
            if (height + height % 2, width + width % 2) == (coded.height, coded.width):
                return height, width
    return coded.height, coded.width


def visible_comment(height: int, width: int) -> str:
    """The comment that `visible_size` reads."""
    return f"visible size {width}x{height}"


def ends_early(path: Path) -> bool:
    """Check whether a Matroska or Ogg file ends inside its outermost element; FFmpeg does not report that."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        if head.startswith(_EBML):
            return _segment_end(head) > size
        if head.startswith(_OGG):
            file.seek(max(0, size - _OGG_PAGE))
            tail = file.read()
            page = tail.rfind(_OGG)
            segments = tail[page + 27 : page + 27 + tail[page + 26]] if page + 26 < len(tail) else b""
            return page + 27 + len(segments) + sum(segments) > len(tail)
    return False


def _segment_end(head: bytes) -> int:
    """Offset where the segment of a Matroska file ends by its header; 0 where that says nothing, as in recordings."""
    start, length = _vint(head, len(_EBML))
    segment = start + length
    if not head[segment:].startswith(_SEGMENT):
        return 0
    start, length = _vint(head, segment + len(_SEGMENT))
    return start + length


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """(offset after it, value) of an EBML variable-length size (RFC 8794, 4); 0 for the reserved unknown one."""
    if at >= len(data) or not data[at]:
        return at, 0
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return at + width, 0 if value == (1 << 7 * width) - 1 else value


def _video_stream(container: InputContainer, path: Path, threads: int) -> VideoStream:
    kind = container.format.name
    if (kind.endswith("_pipe") or kind == "image2") and not _has_two_packets(path):
        raise UserError(f"video '{path}' is a still image ({kind.removesuffix('_pipe')}); give a video file")
    if kind == "tty":  # FFmpeg plays any text file as a teletype
        raise UserError(f"video '{path}' is a text file; give a video file")
    return best_stream(container, path, threads)


def best_stream(container: InputContainer, path: Path, threads: int) -> VideoStream:
    """Return the video stream that FFmpeg would choose, ready to decode.

    Raises:
        UserError: none, or one that cannot be decoded.
    """
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise UserError(f"video '{path}' has no video stream (sound only?); give a file with frames")
    stream = max(streams, key=lambda s: (bool(s.disposition & s.disposition.default), s.width * s.height))
    if stream.codec_context is None or not stream.width:
        check_pixels(f"video '{path}'", _stated_pixels(path, stream.index))
        raise UserError(f"video '{path}' has a video stream that cannot be decoded; convert it to H.264")
    check_pixels(f"video '{path}'", stream.width * stream.height)
    stream.codec_context.options = LIMITS  # a later frame may have another size
    stream.thread_count = threads
    stream.thread_type = "AUTO" if threads > 1 else "NONE"
    return stream


def _stated_pixels(path: Path, index: int) -> int:
    """Pixels of a frame by the headers of a stream, of which nothing is decoded; 0 where these do not say."""
    with suppress(av.FFmpegError, ValueError), av.open(str(path), options={"skip_frame": "all"}) as container:
        stream = container.streams[index]
        return stream.width * stream.height if isinstance(stream, VideoStream) else 0
    return 0


def _has_two_packets(path: Path) -> bool:
    """Check whether an image file is a sequence of images, as raw Motion JPEG is."""
    with av.open(str(path), metadata_errors="replace", options=LIMITS) as container:
        packets = packets_of(container, container.streams.video[0])
        return len(list(islice((packet for packet in packets if packet.size), 2))) == 2


def reason(error: Exception) -> str:
    """Return what FFmpeg says of an error."""
    return getattr(error, "strerror", None) or str(error)
