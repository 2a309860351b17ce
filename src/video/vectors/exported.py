"""Motion vectors that the decoder exports, and when they can be trusted.

FFmpeg loses the reference index of a vector, so a vector can be read as motion to the previous frame only
where there is nothing else it could point to: one reference frame, no B frames, no field coding. Headers tell some of
that, packets and decoded frames the rest, possibly in mid-stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numba import njit
from numpy.typing import NDArray

from src.video.reading.container import side_data
from src.video.vectors.h264_headers import Sps, is_reference, packet_sps, read_sps
from src.video.vectors.vector_file import Vectors, read_vector_file, vector_file_of

NO_ROWS: NDArray[np.float32] = np.zeros((0, 6), np.float32)

INTERLACED, SKIPS = "it is interlaced", "its P frames skip frames (temporal layers)"

EXPORTING = (
    "h264",
    "mpeg4",
    "mpeg2video",
    "mpeg1video",
    "h263",
    "flv1",
)  # not those of MS-MPEG-4 and WMV: less exact than the estimate, and WMV2 has some of intra blocks too


class ExactVectors:
    """Exact vectors to the previous frame, from the decoder or from the file that `encode` puts beside HEVC videos.

    Made before the first frame is decoded.

    Args:
        path: of the video.
        stream: of the video.

    Attributes:
        reason: why there are none, or None; `see` and `check` may find one later.
    """

    def __init__(self, path: Path, stream: VideoStream) -> None:
        self.reason = why_inexact(stream)
        self._saved: tuple[Vectors, ...] | None = None
        if self.reason and vector_file_of(path).exists():
            self.reason, self._saved = None, read_vector_file(path)
        self._offset = crop_offset(stream)
        self._codec = stream.codec_context.codec.canonical_name
        self._extradata, self._skipped = stream.codec_context.extradata or b"", False

    def request(self, stream: VideoStream) -> None:
        """Ask the decoder for them."""
        if self._saved is None:
            stream.codec_context.flags2 |= av.codec.context.Flags2.export_mvs

    def see(self, packet: av.Packet[VideoStream]) -> None:
        """Look for a reason in the headers of a packet that is decoded next."""
        if self._codec != "h264" or self._saved is not None or not packet.size:
            return
        data = bytes(packet)
        if packet.is_keyframe:
            self.reason = self.reason or _why_inexact_sps(packet_sps(data, self._extradata))
        elif self._skipped:
            self.reason = self.reason or SKIPS
        self._skipped = not is_reference(data, self._extradata)

    def check(self, frame: av.VideoFrame) -> str | None:
        """Return why vectors from this decoded frame on are not exact, or None."""
        kind = PictureType(frame.pict_type).name
        if kind == "S":
            self.reason = self.reason or "it has global motion compensation"
        elif kind not in ("I", "P"):
            self.reason = self.reason or f"a frame is of type {kind}"
        elif frame.interlaced_frame and self._saved is None and self._codec != "h264":  # whose header tells
            self.reason = self.reason or INTERLACED
        return self.reason

    def of(self, frame: av.VideoFrame, index: int) -> NDArray[np.float32]:
        """(N, 6) [x0, y0, w, h, dx, dy] of a P frame."""
        if self._saved is None:
            return exported_vectors(frame, self._offset)
        saved = self._saved[index] if index < len(self._saved) else None
        return NO_ROWS if saved is None else saved


def why_inexact(stream: VideoStream) -> str | None:
    """Return the reason why exported vectors are not exact, from the stream's header; None if they are."""
    context = stream.codec_context
    codec = context.codec.canonical_name
    if codec not in EXPORTING:
        return f"FFmpeg exports no motion vectors of {codec} that are exact"
    if context.has_b_frames:
        return "it has B frames, or its header allows them"
    if codec != "h264":
        return None
    sets = read_sps(context.extradata or b"")
    if not sets:
        return "its H.264 parameter sets are missing"
    return _why_inexact_sps(sets)


def _why_inexact_sps(sets: list[Sps]) -> str | None:
    references = max((s.references for s in sets), default=0)
    if references > 1:
        return f"its P frames choose among {references} reference frames and FFmpeg does not report which"
    return None if all(s.progressive for s in sets) else INTERLACED


def crop_offset(stream: VideoStream) -> tuple[int, int]:
    """(x, y) of the visible frame in the coded one, where blocks are counted from."""
    if stream.codec_context.codec.canonical_name != "h264":
        return 0, 0
    sets = read_sps(stream.codec_context.extradata or b"")
    return (sets[0].crop_left, sets[0].crop_top) if sets else (0, 0)


def has_layers(packets: Iterable[av.Packet[VideoStream]], stream: VideoStream) -> bool:
    """Check whether some H.264 frame is skipped by the vectors of the next: temporal layers, as in conferencing."""
    if stream.codec_context.codec.canonical_name != "h264":
        return False
    extradata, skipped = stream.codec_context.extradata or b"", False
    for packet in packets:
        if skipped and not packet.is_keyframe:
            return True
        skipped = not is_reference(bytes(packet), extradata)
    return False


def exported_vectors(frame: av.VideoFrame, offset: tuple[int, int]) -> NDArray[np.float32]:
    """(N, 6) [x0, y0, w, h, dx, dy] of a P frame; FFmpeg gives centres and scaled src - dst."""
    blocks = side_data(frame, "MOTION_VECTORS")
    if blocks is None:
        return NO_ROWS
    rows: NDArray[np.float32] = block_rows(blocks.to_ndarray(), *offset)
    return rows


@njit(cache=True, nogil=True, error_model="numpy")
def block_rows(blocks: NDArray[Any], left: int, top: int) -> NDArray[np.float32]:
    """(N, 6) float32 [x0, y0, w, h, dx, dy] of FFmpeg's blocks, which have centres, in a frame cut by (left, top)."""
    rows = np.empty((len(blocks), 6), np.float32)
    for n in range(len(blocks)):
        block, row = blocks[n], rows[n]
        row[2], row[3] = block.w, block.h
        row[0] = block.dst_x - (row[2] / 2 + left)
        row[1] = block.dst_y - (row[3] / 2 + top)
        scale = np.float32(block.motion_scale)
        row[4], row[5] = np.float32(block.motion_x) / scale, np.float32(block.motion_y) / scale
    return rows
