"""Encode frames with exact GOPs: an I frame every L frames, P frames that refer to the frame before them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from src.errors import UserError
from src.video.reading.colour import from_rgb, tag_colours
from src.video.reading.container import open_video, visible_comment
from src.video.types import CodecSettings
from src.video.vectors.vector_file import vector_file_of, write_vector_file
from src.video.vectors.x265_analysis import PARAMETERS, UnknownAnalysis, read_vectors
from src.video.writing.psnr import PsnrMeter

# Raise when the same frames give another file or other motion vectors beside it: encoder options, colour conversion
# (`src.video.reading.colour`), vector file (`src.video.vectors`).
FORMAT = 1

_ENCODERS = {"h264": "libx264", "hevc": "libx265", "mpeg4": "mpeg4"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedVideo:
    """Properties of a written video.

    Attributes:
        frames: their number.
        keyframes: indices of the I frames.
        psnr_y: of luma over all frames, dB.
    """

    frames: int
    keyframes: tuple[int, ...]
    psnr_y: float


def encode(frames: Iterable[NDArray[np.uint8]], path: Path, encoding: CodecSettings) -> EncodedVideo:
    """Write (H, W, 3) uint8 RGB frames to `path`; its suffix names the container, .mp4 or .mkv.

    The same frames give the same bytes (one thread). 4:2:0 needs even sizes: an odd one is padded by
    repeating its last row or column, and the visible size is noted in the container's comment, to which
    `Video` and `read_gop` crop; other players show the extra line. Colours are limited range, BT.601 or
    BT.709 by size (see `matrix_by_size`), and tagged so. An HEVC video gets a file with its motion vectors
    beside it (see `src.video.vectors.vector_file`) where the version of x265 is one whose analysis can be read. Each
    packet is decoded again; the video appears under its name only after its I frames and frame count were
    found right.

    Raises:
        UserError: no frames, frames of different sizes, or another suffix.
    """
    if path.suffix not in (".mp4", ".mkv"):  # AVI keeps no presentation times, by which frames are found
        raise UserError(f"video '{path}' cannot be written as '{path.suffix}'; name it .mp4 or .mkv")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise UserError(f"no frames to encode into '{path}'; check the source of the frames")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    analysis = temporary.with_suffix(".analysis") if encoding.codec == "hevc" else None
    try:
        encoded = _write(chain([first], iterator), first.shape, temporary, encoding, analysis)
        _check_muxed(temporary, encoded)
        if analysis is not None and _keep_vectors(temporary, analysis, first.shape):
            os.replace(vector_file_of(temporary), vector_file_of(path))
        os.replace(temporary, path)
    finally:
        saved = () if analysis is None else (vector_file_of(temporary), analysis, Path(f"{analysis}.temp"))
        for leftover in (temporary, *saved):
            leftover.unlink(missing_ok=True)
    return encoded


@cache
def has_exact_vectors(codec: str) -> bool:
    """Check whether videos that `encode` writes come with exact vectors: HEVC where x265's analysis can be read."""
    if codec != "hevc":
        return True
    with TemporaryDirectory() as folder:
        video = Path(folder) / "probe.mp4"
        encode([np.zeros((64, 64, 3), np.uint8)] * 2, video, CodecSettings(codec, 2, 25, crf=28))
        return vector_file_of(video).exists()


def _keep_vectors(video: Path, analysis: Path, shape: tuple[int, ...]) -> bool:
    """Write the vectors that x265 saved about a video as its vector file; return whether that could be read."""
    try:
        write_vector_file(video, read_vectors(analysis, video, shape[0] + shape[0] % 2, shape[1] + shape[1] % 2))
    except UnknownAnalysis as error:
        log.warning("no exact vectors beside the video, estimate them (video.motion=estimate): %s", error)
        return False
    return True


def _write(
    frames: Iterable[NDArray[np.uint8]],
    shape: tuple[int, ...],
    path: Path,
    encoding: CodecSettings,
    analysis: Path | None,
) -> EncodedVideo:
    height, width = shape[:2]
    count = 0
    with av.open(str(path), "w") as container:
        if height % 2 or width % 2:
            container.metadata["comment"] = visible_comment(height, width)
        stream = _stream(container, height + height % 2, width + width % 2, encoding, analysis)
        fidelity = PsnrMeter(stream.codec_context, encoding.codec)

        def write(frame: av.VideoFrame | None) -> None:
            packets = stream.encode(frame)
            fidelity.coded(packets)
            container.mux(packets)

        for image in frames:
            if image.shape != shape:
                raise UserError(
                    f"frame {count} for '{path}' has shape {image.shape}, the first has {shape}; use one size"
                )
            padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            frame = from_rgb(padded)
            frame.pts, frame.time_base = count, 1 / Fraction(encoding.fps)
            fidelity.sent(frame)
            write(frame)
            count += 1
        write(None)
        fidelity.finish()
    _check_gop(path, fidelity.types, count, encoding.gop)
    return EncodedVideo(count, tuple(range(0, count, encoding.gop)), fidelity.psnr_y)


def _stream(
    container: OutputContainer, height: int, width: int, encoding: CodecSettings, analysis: Path | None
) -> VideoStream:
    stream: VideoStream = container.add_stream(  # type: ignore[assignment]  # typed as any kind of stream
        _ENCODERS[encoding.codec], rate=Fraction(encoding.fps), options=_options(encoding, analysis)
    )
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.thread_count = 1
    if encoding.bitrate is not None:
        stream.bit_rate = encoding.bitrate * 1000
    tag_colours(stream.codec_context, height, width)
    return stream


def _options(encoding: CodecSettings, analysis: Path | None) -> dict[str, str]:
    gop = encoding.gop
    if encoding.codec == "mpeg4":
        return {"g": str(gop), "bf": "0", "sc_threshold": "1000000000", "flags": "+cgop"}
    exact = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:ref=1:weightp=0:open-gop=0"
    options = {"preset": encoding.preset}
    if encoding.crf is not None:
        options["crf"] = str(encoding.crf)
    if encoding.codec == "h264":
        return options | {"x264-params": exact}
    place = re.sub(r"([\\':])", r"\\\1", str(analysis))  # which separate parameters
    saved = "" if analysis is None else f":analysis-save={place}:{PARAMETERS}"
    return options | {"x265-params": f"{exact}:pools=none:frame-threads=1:log-level=error{saved}"}


def _check_gop(path: Path, types: list[PictureType], count: int, gop: int) -> None:
    expected = [PictureType.P if i % gop else PictureType.I for i in range(count)]
    if types != expected:
        wrong = next((i for i, (a, b) in enumerate(zip(types, expected, strict=False)) if a != b), len(types))
        raise RuntimeError(f"{path}: the encoder did not keep a GOP of {gop} at frame {wrong} of {count}")


def _check_muxed(path: Path, encoded: EncodedVideo) -> None:
    container, stream = open_video(path)
    with container:
        is_key = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    if is_key != [index in encoded.keyframes for index in range(encoded.frames)]:
        raise RuntimeError(f"{path}: the file does not hold the {encoded.frames} frames that were coded")
