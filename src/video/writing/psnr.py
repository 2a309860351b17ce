"""PSNR and frame types, measured while encoding by decoding each packet again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from numpy.typing import NDArray

PEAK = 255


class PsnrMeter:
    """Frame types and luma error of what comes out of an encoder.

    Holds the luma of the frames that the encoder holds back, as the encoder itself does.

    Args:
        encoder: whose packets are given to `coded`.
        decoder: FFmpeg's name of the decoder.
    """

    def __init__(self, encoder: VideoCodecContext, decoder: str) -> None:
        self._encoder, self._name = encoder, decoder
        self._decoder: VideoCodecContext | None = None
        self._sent: deque[NDArray[np.uint8]] = deque()
        self._squares, self._pixels = 0, 0
        self.types: list[PictureType] = []

    def sent(self, frame: av.VideoFrame) -> None:
        """Note a frame that goes to the encoder."""
        self._sent.append(_luma(frame).copy())

    def coded(self, packets: Iterable[av.Packet[av.VideoStream]]) -> None:
        """Decode packets; before they are muxed, which changes their times."""
        for packet in packets:
            self._compare(self._opened().decode(packet))

    def finish(self) -> None:
        """Decode what the decoder holds back; after the last packet."""
        self._compare(self._opened().decode(None))

    @property
    def psnr_y(self) -> float:
        """Peak signal-to-noise ratio of luma over all frames, dB; infinite where nothing was lost."""
        if self._squares == 0:
            return float("inf")
        return float(10 * np.log10(PEAK**2 * self._pixels / self._squares))

    def _opened(self) -> VideoCodecContext:
        if self._decoder is None:
            context = av.CodecContext.create(self._name, "r")
            assert isinstance(context, VideoCodecContext)
            context.extradata = self._encoder.extradata
            context.thread_count = 1
            self._decoder = context
        return self._decoder

    def _compare(self, frames: Iterable[av.VideoFrame]) -> None:
        for frame in frames:
            error = _luma(frame).astype(np.int16) - self._sent.popleft()
            self._squares += int(np.square(error, dtype=np.int32).sum(dtype=np.int64))
            self._pixels += error.size
            self.types.append(PictureType(frame.pict_type))


def _luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
