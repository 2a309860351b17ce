"""Detect lost and corrupt data while decoding."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from src.errors import UserError
from src.video.reading.container import ends_early
from src.video.vectors.h264_headers import read_sps

Policy = Literal["stop", "continue"]
CONTINUE = "copy it again, or set on_damage=continue"  # the remedy, for commands that have this key

# Others have hidden frames (VP8, AV1); H.264 has a field per packet where it is interlaced.
_FRAME_PER_PACKET = ("h264", "hevc", "mpeg4")
_PLACEHOLDER = 19  # bytes at most of a packet that repeats the frame before (MPEG-4) and gives none

_LOOKAHEAD = 2  # packets from one that looks torn to the keyframe of the next transport stream
_EXCERPTS = ("mpegts", "mpeg", "mpegvideo", "h264", "hevc")  # may begin anywhere, as recordings of broadcasts do
_REMEMBERED = 1000  # packets; decoders hold back a few dozen frames at most

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedFrame:
    """A decoded frame as the codec has it, its place in display order, and whether data was lost there.

    Attributes:
        follows_hidden: frames that an edit list hides come before it; its vectors lead to them.
        is_slotted: its time is not its own but that of its turn, as in AVI with B frames.
    """

    frame: av.VideoFrame
    index: int
    damaged: bool
    follows_hidden: bool = False
    is_slotted: bool = False


class DamageDetector:
    """Decode a stream and report where data was lost: "stop" raises, "continue" warns and marks the frame.

    "mark" marks without a warning, and raises PyAV's error where the rest cannot be read. Under "stop" a video whose
    first frames are lost begins with a warning at the first keyframe that is not. Damage is what the data shows:
    packets that are cut or do not decode, frames that the decoder had to conceal, files that end too early. Counts and
    durations that a container states are often wrong.

    Where frames were lost, the next one is marked, and the lost ones keep their index as far as their
    packets are there, so that later indices stay aligned with labels. Bit errors that decode leave no
    trace: H.264 and its like carry no checksum. `see` is called with each packet before it is decoded;
    `remedy` ends the error.
    """

    def __init__(
        self,
        path: Path,
        container: InputContainer,
        stream: VideoStream,
        policy: Policy | Literal["mark"],
        see: Callable[[av.Packet[VideoStream]], None] | None = None,
        remedy: str = CONTINUE,
    ) -> None:
        self._remedy = remedy
        self._path, self._container, self._stream, self._policy, self._see = path, container, stream, policy, see
        self._next = 0
        self._is_excerpt = container.format.name in _EXCERPTS
        self._first_key: int | None = None
        context = stream.codec_context
        codec = context.codec.canonical_name
        interlaced = codec == "h264" and not all(s.progressive for s in read_sps(context.extradata or b""))
        self._ranked = codec in _FRAME_PER_PACKET and not interlaced
        self._least = _PLACEHOLDER if codec == "mpeg4" else 0
        self._slotted = container.format.name == "avi"  # it stores no times: a packet is shown when its turn comes
        self._joined = container.format.name == "mpegts"
        self._times: list[int] = []  # sorted, of the latest packets: a frame's rank is its index
        self._forgotten = 0  # earlier ones, dropped so that memory does not grow with the video
        self._base: int | None = None
        self._lead: str | None = None  # what is wrong before the first frame that is given
        self._begun = False
        self._has_b_frames = False  # decoded ones; headers promise them where there are none
        self._is_reordered = False  # else the times are those of decoding, as careless muxers write them
        self._hidden: list[int] = []

    def __iter__(self) -> Iterator[DecodedFrame]:
        """Frames in display order.

        Raises:
            UserError: damage under "stop".
        """
        failed = torn = 0
        for packet, missing in self._demux():
            if self._first_key is None and (packet.is_keyframe or not self._is_excerpt):
                self._first_key = packet.dts if self._slotted else packet.pts
            if missing:
                torn = 2  # the hole lies between this packet and the next
            try:
                frames = packet.decode()
            except av.FFmpegError:
                if self._first_key is None:  # cut out of a longer stream, as broadcasts are
                    continue
                self._report("a frame does not decode")
                self._next += not self._ranked or self._is_misordered()
                failed += 1
                continue
            for frame in frames:
                self._has_b_frames |= frame.pict_type == PictureType.B
                if self._slotted:  # FFmpeg makes times up, wrong ones with B frames
                    frame.pts = None if self._stream.codec_context.has_b_frames else frame.dts
                index = self._index(frame)
                slot, own = index - self._forgotten, frame.pts
                if (frame.pts is None or self._is_misordered()) and 0 <= slot < len(self._times):
                    frame.pts = self._times[slot]
                lost = index - self._next
                if lost > failed:
                    self._report(f"{lost} frames are lost")
                elif frame.is_corrupt and not failed:
                    self._report("corrupt frame (decoder concealed missing data)")
                self._next = index + 1
                if self._belongs_to_lead(frame, torn > 0):
                    torn = max(0, torn - 1)
                    continue
                damaged = failed > 0 or lost > 0 or torn > 0 or frame.is_corrupt
                yield DecodedFrame(frame, index, damaged, self._after_hidden(frame), frame.pts != own)
                failed, torn = 0, max(0, torn - 1)
        if self._lead is not None and not self._begun:
            self._report(self._lead, final=True)
        self._check_end()

    def _demux(self) -> Iterator[tuple[av.Packet[VideoStream], bool]]:
        """Packets, and whether data is missing in or after them."""
        ahead: deque[av.Packet[VideoStream]] = deque()
        before: int | None = None
        for packet in chain(self._read(), repeat(None, _LOOKAHEAD)):
            if packet is not None:
                ahead.append(packet)
            if not ahead or (packet is not None and self._joined and len(ahead) <= _LOOKAHEAD):
                continue
            current = ahead.popleft()
            missing = current.is_corrupt and not (self._joined and self._is_joint(current, ahead))
            if missing:
                self._report("the container marks data as missing")
            if before is not None and current.dts is not None and current.dts < before:
                self._ranked = False  # the clock begins anew: times do not tell the order of frames
            before = before if current.dts is None else current.dts
            self._remember(current)
            if self._see is not None:
                self._see(current)
            yield current, missing

    def _read(self) -> Iterator[av.Packet[VideoStream]]:
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError:
            if self._policy == "mark":
                raise
            self._report("the rest of the file cannot be read", final=True)

    def _is_joint(self, torn: av.Packet[VideoStream], following: Iterable[av.Packet[VideoStream]]) -> bool:
        """Check whether two streams were joined end to end: their counters differ, but nothing is lost."""
        before = torn.dts
        for packet in following:
            if self._is_gap(before, packet.dts):
                return False
            if packet.is_keyframe:
                return True
            before = packet.dts
        return False

    def _is_gap(self, before: int | None, time: int | None) -> bool:
        """Check whether more than a frame lies between two times of packets; going back is none."""
        rate, base = self._stream.average_rate, self._stream.time_base
        return bool(before is not None and time is not None and rate and base and (time - before) * base * rate > 1.5)

    def _remember(self, packet: av.Packet[VideoStream]) -> None:
        time = packet.dts if self._slotted else packet.pts
        if not packet.size or time is None:
            return
        self._is_reordered |= bool(self._times) and time < self._times[-1]
        if packet.is_discard:
            self._hidden.append(time)
        elif packet.size > self._least or self._slotted:
            at = bisect_left(self._times, time)
            if self._times[at : at + 1] != [time]:  # a time that several packets have may be that of one frame
                self._times.insert(at, time)

    def _is_misordered(self) -> bool:
        return bool(self._stream.codec_context.has_b_frames) and self._has_b_frames and not self._is_reordered

    def _belongs_to_lead(self, frame: av.VideoFrame, is_torn: bool) -> bool:
        """Check whether a frame belongs to a beginning that is lost; the first that does not begins the video.

        Raises:
            UserError: what is lost comes after the frame, which the decoder held back, or may do so.
        """
        if self._lead is not None and not self._begun and self._policy == "stop":
            counted = self._ranked and not self._is_misordered()
            if self._next == 1 or (self._stream.codec_context.has_b_frames and not counted):
                self._report(self._lead, final=True)
            if is_torn or frame.is_corrupt or not frame.key_frame:
                return True
            log.warning("video '%s' begins at frame %d: before it, %s", self._path, self._next - 1, self._lead)
        self._begun = True
        return False

    def _after_hidden(self, frame: av.VideoFrame) -> bool:
        found = frame.pts is not None and any(time < frame.pts for time in self._hidden)
        if found:
            self._hidden = [time for time in self._hidden if time > (frame.pts or 0)]
        return found

    def _index(self, frame: av.VideoFrame) -> int:
        if len(self._times) > 2 * _REMEMBERED:
            del self._times[:_REMEMBERED]
            self._forgotten += _REMEMBERED
        if not self._ranked or frame.pts is None or self._is_misordered():
            return self._next
        rank = self._forgotten + bisect_left(self._times, frame.pts)
        if self._base is None:  # frames before the first keyframe of a video that was cut out are never shown
            first = frame.pts if self._first_key is None else self._first_key
            self._base = self._forgotten + bisect_left(self._times, first)
        return max(rank - self._base, self._next)

    def _check_end(self) -> None:
        if self._policy == "mark":
            return
        if ends_early(self._path):
            self._report("the file ends before its container does: cut short", final=True)
        elif self._ranked and self._base is not None:
            missing = self._forgotten + len(self._times) - self._base - self._next
            if missing > 0:
                self._report(f"the last {missing} frames are lost")

    def _report(self, what: str, final: bool = False) -> None:
        if self._policy == "mark":
            return
        if self._policy == "stop" and not (self._begun or final):
            self._lead = what
            return
        rate = self._stream.average_rate
        time = f" ({float(self._next / rate):.2f} s)" if rate else ""
        message = f"video '{self._path}' is damaged at frame {self._next}{time}: {what}"
        if self._policy == "stop":
            raise UserError(f"{message}; {self._remedy}")
        log.warning("%s; continuing", message)
