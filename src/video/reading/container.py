"""Open video files, and report in one line what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from src.errors import UserError

_VISIBLE = "visible size "


def open_video(path: Path, threads: int = 1, coded_here: bool = False) -> tuple[InputContainer, VideoStream]:
    """The container, to be closed by the caller, and its video stream, which decodes damaged frames too.

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
        options: Any = [{"skip_frame": "all"}] if coded_here else None
        container = av.open(str(path), stream_options=options)
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f"video '{path}' cannot be read ({_reason(error)}): no video, cut short or corrupt; copy it again"
        ) from error
    try:
        return container, _video_stream(container, path, threads)
    except BaseException:
        container.close()
        raise


def visible_size(container: InputContainer, stream: VideoStream) -> tuple[int, int]:
    """(height, width) as coded minus the padding that `encode` adds to odd sizes and notes in the comment."""
    for key, value in container.metadata.items():
        if key.lower() == "comment" and value.startswith(_VISIBLE):
            width, _, height = value.removeprefix(_VISIBLE).partition("x")
            return int(height), int(width)
    return stream.height, stream.width


def visible_comment(height: int, width: int) -> str:
    """The comment that `visible_size` reads."""
    return f"{_VISIBLE}{width}x{height}"


def _video_stream(container: InputContainer, path: Path, threads: int) -> VideoStream:
    kind = container.format.name
    if kind.endswith("_pipe") or kind == "image2":
        raise UserError(f"video '{path}' is a still image ({kind.removesuffix('_pipe')}); give a video file")
    if kind == "tty":  # FFmpeg plays any text file as a teletype
        raise UserError(f"video '{path}' is a text file; give a video file")
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise UserError(f"video '{path}' has no video stream (sound only?); give a file with frames")
    stream = streams[0]
    if stream.codec_context is None or not stream.width:
        raise UserError(f"video '{path}' has a video stream that cannot be decoded; convert it to H.264")
    stream.thread_count = threads
    stream.thread_type = "AUTO" if threads > 1 else "NONE"
    stream.codec_context.flags |= av.codec.context.Flags.output_corrupt
    return stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
