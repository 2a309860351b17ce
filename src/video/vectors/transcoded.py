"""Block motion of any codec, by encoding the decoded frames again as an H.264 stream whose vectors are exact."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags2
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from src.errors import UserError
from src.video.reading.container import reason
from src.video.vectors.block_search import luma_of
from src.video.vectors.exported import exported_vectors

# Chosen by error of warped frames and time, see scripts/benchmarks/transcode.py. Intra blocks have no vector, so
# the small ones, which most of them are, are off. Without lookahead and B frames each frame gives its packet at once.
_ENCODER = {
    "preset": "superfast",
    "tune": "zerolatency,fastdecode",
    "qp": "24",  # coarser reference frames are searched less well, finer ones cost more time than they gain
    "x264-params": "keyint=infinite:scenecut=0:bframes=0:ref=1:weightp=0:me=hex:analyse=p8x8:8x8dct=0",
}
_VECTORS_ONLY = {"skip_idct": "all", "skip_loop_filter": "all"}


class Transcoder:
    """Find the motion of each frame to the one before it by encoding it with that frame as its one reference.

    Luma alone is coded, in one P frame after the other, at a constant quantiser; each packet is decoded at once for
    its vectors, without its residual, and let go.

    Args:
        height, width: of the frames.

    Raises:
        UserError: a side longer than the 16384 pixels that x264 takes.
    """

    def __init__(self, height: int, width: int) -> None:
        encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
        assert isinstance(encoder, VideoCodecContext)
        assert isinstance(decoder, VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt, encoder.options = width, height, "gray", dict(_ENCODER)
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)  # of no effect at a constant quantiser
        encoder.thread_count = decoder.thread_count = 1  # with more, vectors would depend on their number
        decoder.flags2 |= Flags2.export_mvs
        decoder.options = dict(_VECTORS_ONLY)
        try:
            encoder.open()
        except av.FFmpegError as error:
            raise UserError(
                f"frames of {width}x{height} cannot be encoded as H.264 ({reason(error)}); set video.motion=estimate"
            ) from error
        self._encoder, self._decoder, self._count = encoder, decoder, 0

    def update(self, frame: av.VideoFrame) -> NDArray[np.float32] | None:
        """Return the (N, 6) vectors of the next frame to the one before it, as of `Frame`; None for the first."""
        luma = av.VideoFrame.from_ndarray(luma_of(frame), format="gray")
        luma.pts, self._count = self._count, self._count + 1
        (packet,) = self._encoder.encode(luma)
        (coded,) = self._decoder.decode(packet)
        return exported_vectors(coded, (0, 0)) if luma.pts else None
