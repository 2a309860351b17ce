"""Videos whose headers or later frames state absurd sizes are refused before memory is taken for them."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from src.errors import UserError
from src.video.reading.decode import Video


def png(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def write(path: Path, sides: list[int | None], stated: int = 64) -> Path:
    """A video of PNG frames; None is a sound one, a number the side that a frame states."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width = stream.height = stated
        stream.pix_fmt = "rgb24"
        for number, side in enumerate(sides):
            if side is None:
                frame = av.VideoFrame.from_ndarray(np.zeros((stated, stated, 3), np.uint8))
                frame.pts = number
                container.mux(stream.encode(frame))
                continue
            packet = av.Packet(png(side))
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 10), True
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def test_the_first_frame_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"video\.mov' has 196 million pixels by its header, the limit is 134"):
        Video(write(tmp_path / "video.mov", [14_000]), motion="none")


def test_a_later_frame_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.video.reading.decode.to_rgb", lambda frame: np.zeros((frame.height, frame.width, 3)))
    video = Video(write(tmp_path / "video.mov", [None, None, 14_000, None]), motion="none")
    with pytest.raises(UserError, match="is damaged at frame 2"):
        list(video)
