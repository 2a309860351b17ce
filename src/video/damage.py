"""Decoding that notices lost and corrupt data instead of passing concealed pictures on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from src.errors import UserError

Policy = Literal["stop", "continue"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Coded:
    """A decoded picture as the codec has it, its place in display order, and whether data was lost there."""

    picture: av.VideoFrame
    index: int
    damaged: bool


class Watch:
    """Decodes a stream and says where data was lost: "stop" raises, "continue" warns and marks the picture.

    Where a picture was lost, the next one is marked, and the lost one keeps its index, so that later
    indices stay aligned with labels. Bit errors that still decode leave no trace: H.264 and its like carry
    no checksum.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, policy: Policy) -> None:
        self._path, self._container, self._stream, self._policy = path, container, stream, policy
        self._packets = self._shown = self._given = self._index = 0

    def __iter__(self) -> Iterator[Coded]:
        """Pictures in display order.

        Raises:
            UserError: damage under "stop".
        """
        gap = False
        for packet in self._demux():
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                self._report("a frame does not decode")
                self._index += 1
                gap = True
                continue
            for picture in pictures:
                if picture.is_corrupt and not gap:
                    self._report("data is missing and the decoder invented a replacement")
                yield Coded(picture, self._index, picture.is_corrupt or gap)
                gap = False
                self._index += 1
                self._given += 1
        self._check_count()

    def _demux(self) -> Iterator[av.Packet[VideoStream]]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self._report("the file cannot be read on from here")
                return
            if packet.size:
                self._packets += 1
                self._shown += not packet.is_discard
            yield packet

    def _check_count(self) -> None:
        promised = self._stream.frames  # 0 where the container does not say
        if promised > self._packets:
            self._report(f"the container promises {promised} frames and holds {self._packets}: cut short")
        elif promised and self._given < self._shown and self._stream.codec_context.name in ("h264", "hevc"):
            # Other codecs have packets without a picture of their own.
            self._report(f"{self._shown - self._given} of {self._shown} frames were lost in decoding")

    def _report(self, what: str) -> None:
        rate = self._stream.average_rate
        time = f" ({float(self._index / rate):.2f} s)" if rate else ""
        message = f"film '{self._path}' is damaged at frame {self._index}{time}: {what}"
        if self._policy == "stop":
            raise UserError(f"{message}; copy it again, or set on_damage=continue")
        log.warning("%s; going on", message)
