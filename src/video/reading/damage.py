"""Detect lost and corrupt data while decoding."""

from __future__ import annotations

import logging
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from src.errors import UserError

Policy = Literal["stop", "continue"]

# Others have hidden frames (VP8, AV1) or pack two in a packet.
_FRAME_PER_PACKET = ("h264", "hevc", "mpeg4")

_REMEMBERED = 1000  # packets; decoders hold back a few dozen frames at most

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedFrame:
    """A decoded frame as the codec has it, its place in display order, and whether data was lost there."""

    frame: av.VideoFrame
    index: int
    damaged: bool


class DamageDetector:
    """Decode a stream and report where data was lost: "stop" raises, "continue" warns and marks the frame.

    Where frames were lost, the next one is marked, and the lost ones keep their index as far as their
    packets are there, so that later indices stay aligned with labels. Bit errors that decode leave no
    trace: H.264 and its like carry no checksum.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, policy: Policy) -> None:
        self._path, self._container, self._stream, self._policy = path, container, stream, policy
        self._packets = self._next = 0
        self._ranked = stream.codec_context.codec.canonical_name in _FRAME_PER_PACKET
        self._untimed = container.format.name == "avi"  # FFmpeg makes times up, wrong ones with B frames
        self._times: list[int] = []  # sorted pts of the latest packets: a frame's rank is its index
        self._forgotten = 0  # earlier ones, dropped so that memory does not grow with the video
        self._base: int | None = None
        self._end = Fraction(0)

    def __iter__(self) -> Iterator[DecodedFrame]:
        """Frames in display order.

        Raises:
            UserError: damage under "stop".
        """
        failed = torn = 0
        for packet in self._demux():
            if packet.is_corrupt:  # transport streams: the hole lies between this packet and the next
                self._report("the container marks data as missing")
                torn = 2
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._report("a frame does not decode")
                self._next += not self._ranked
                failed += 1
                continue
            for frame in frames:
                if self._untimed:
                    frame.pts = None
                index = self._index(frame)
                lost = index - self._next
                if lost > failed:
                    self._report(f"{lost} frames are lost")
                elif frame.is_corrupt and not failed:
                    self._report("corrupt frame (decoder concealed missing data)")
                self._note(frame, index)
                yield DecodedFrame(frame, index, failed > 0 or lost > 0 or torn > 0 or frame.is_corrupt)
                failed, torn = 0, max(0, torn - 1)
        self._check_end()

    def _demux(self) -> Iterator[av.Packet[VideoStream]]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self._report("the rest of the file cannot be read")
                return
            self._packets += packet.size > 0
            if packet.size and not packet.is_discard and packet.pts is not None:
                insort(self._times, packet.pts)
            yield packet

    def _index(self, frame: av.VideoFrame) -> int:
        if not self._ranked or frame.pts is None:
            return self._next
        rank = self._forgotten + bisect_left(self._times, frame.pts)
        if len(self._times) > 2 * _REMEMBERED:
            del self._times[:_REMEMBERED]
            self._forgotten += _REMEMBERED
        if self._base is None:  # leading frames of an open GOP that the video was cut in are never shown
            self._base = rank
        return max(rank - self._base, self._next)

    def _note(self, frame: av.VideoFrame, index: int) -> None:
        self._next = index + 1
        if frame.pts is not None and frame.time_base is not None:
            self._end = (frame.pts + (frame.duration or 0)) * frame.time_base

    def _check_end(self) -> None:
        promised = self._stream.frames  # 0 where the container does not say
        short = _stated_end(self._stream) - self._end
        if promised > self._packets:
            self._report(f"the container promises {promised} frames and holds {self._packets}: cut short")
        elif short > 3 / Fraction(self._stream.average_rate or 25):
            self._report(f"{float(short):.2f} s before the stated end: cut short")
        elif self._ranked and self._base is not None:
            missing = self._forgotten + len(self._times) - self._base - self._next
            if missing > 0:
                self._report(f"the last {missing} frames are lost")

    def _report(self, what: str) -> None:
        rate = self._stream.average_rate
        time = f" ({float(self._next / rate):.2f} s)" if rate else ""
        message = f"video '{self._path}' is damaged at frame {self._next}{time}: {what}"
        if self._policy == "stop":
            raise UserError(f"{message}; copy it again, or set on_damage=continue")
        log.warning("%s; continuing", message)


def _stated_end(stream: VideoStream) -> Fraction:
    """Seconds at which the stream ends as its Matroska tag says; 0 without one (MP4 counts frames)."""
    tag = next((v for k, v in stream.metadata.items() if k.upper() == "DURATION"), "0:0:0")
    hours, minutes, seconds = tag.split(":")
    return 3600 * Fraction(hours) + 60 * Fraction(minutes) + Fraction(seconds)
