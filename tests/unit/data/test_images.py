"""Images of odd names, absurd sizes and other depths than 8 bits."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.images import read_image
from src.data.labels import IndexCoding
from src.errors import UserError

CODING = IndexCoding(((0, 0), (1, 1)), (255,))


def png(width: int, height: int) -> bytes:
    """A PNG that states a size and holds a few rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(width: int, height: int) -> bytes:
    content = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_names_that_are_not_utf_8_are_read(tmp_path: Path, suffix: str) -> None:
    """OpenCV ends the process at such a name."""
    path = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
    image = np.zeros((8, 12), np.uint8)
    path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    assert read_image(path).shape == (8, 12, 3)
    if suffix == ".png":
        assert np.array_equal(CODING.read(path), image)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (20_000, 20_000), (12_000, 12_000)])
@pytest.mark.parametrize("read", [read_image, CODING.read], ids=["image", "labels"])
def test_an_absurd_size_is_rejected_before_memory_is_taken(
    tmp_path: Path, width: int, height: int, read: object
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png(width, height))
    with pytest.raises(UserError, match=rf"image.png' has {width * height // 10**6} million pixels .* 134 million"):
        read(path)  # type: ignore[operator]


def test_an_absurd_jpeg_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    for side in (60_000, 12_000):
        path.write_bytes(jpeg(side, side))
        with pytest.raises(UserError, match=rf"has {side * side // 10**6} million pixels"):
            read_image(path)


def test_cut_pngs_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = cv2.imencode(".png", noise)[1].tobytes()
    for length in (0, 8, 40, len(content) // 2, len(content) * 9 // 10):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="cannot be decoded"):
            read_image(path)


def sixteen_bits(path: Path, most: int, significant: int | None = None) -> np.ndarray:
    """Write a PNG with values 0..most, and what it says of its bits; returns the values."""
    values = np.linspace(0, most, 64 * 3).reshape(8, 8, 3).astype(np.uint16)
    content = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    if significant is not None:
        chunk = b"sBIT" + bytes([significant] * 3)
        content = content[:33] + struct.pack(">I", 3) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
    path.write_bytes(content)
    return values


@pytest.mark.parametrize(
    ("most", "significant", "shift"), [(65535, None, 8), (4095, 12, 4), (1023, 10, 2), (65535, 12, 8), (60_000, 16, 8)]
)
def test_16_bits_are_scaled_by_what_the_file_says(
    tmp_path: Path, most: int, significant: int | None, shift: int, caplog: pytest.LogCaptureFixture
) -> None:
    values = sixteen_bits(tmp_path / "image.png", most, significant)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), values >> shift)
    assert not caplog.messages


def test_16_bits_that_are_nearly_black_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = sixteen_bits(tmp_path / "image.png", 4095)
    for _ in range(2):
        np.testing.assert_array_equal(read_image(tmp_path / "image.png"), values >> 8)
    assert caplog.text.count("have 16 bits and values below 4096 of 65535, so they are read as nearly black") == 1


def test_numbers_of_other_types_are_rejected(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "image.tif"), np.zeros((8, 8, 3), np.float32))
    with pytest.raises(UserError, match=r"image.tif' holds numbers of type float32; save it with 8 or 16 bits"):
        read_image(tmp_path / "image.tif")


def test_a_jpeg_by_another_name_is_one(tmp_path: Path) -> None:
    content = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()
    path = tmp_path / "image.png"
    path.write_bytes(content)
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(content[: len(content) // 2])  # OpenCV fills it up with grey
    with pytest.raises(UserError, match="cannot be decoded"):
        read_image(path)
