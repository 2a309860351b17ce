"""Read images from files, and the statistics that networks expect them normalised with."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from src.errors import UserError, check_pixels, check_range

ImageArray = NDArray[np.uint8]  # RGB (H, W, 3), or labels (H, W)
DARK = 2**12  # values below which an image of 16 bits is nearly black

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of RGB in 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> Normalisation:
        """Check and convert the lists of a configuration.

        Raises:
            UserError: not three values each, or a standard deviation that is not positive.
        """
        check_range(len(mean) == 3, "data.source.mean", list(mean), "three values in 0..1: red, green, blue")
        allowed = "three values above 0: red, green, blue"
        check_range(len(std) == 3 and min(std) > 0, "data.source.std", list(std), allowed)
        return cls((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def read_image(path: Path) -> ImageArray:
    """Read an image file as upright RGB (H, W, 3).

    Of 16 bits the upper 8 are taken, or those of the significant bits that a PNG states.

    Raises:
        UserError: missing, unreadable, cut short, or of other numbers than 8 or 16 bits.
    """
    if is_jpeg(path):
        return _read_jpeg(path)
    image = decode_image("image", path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype == np.uint16:
        image = (image >> _shift(path, int(image.max()))).astype(np.uint8)
    if image.dtype != np.uint8:
        raise UserError(f"image '{path}' holds numbers of type {image.dtype}; save it with 8 or 16 bits a channel")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def is_jpeg(path: Path) -> bool:
    """Check what a file holds, whatever its name."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"
    return False


def _shift(path: Path, most: int) -> int:
    """Bits to drop of an image of 16 bits with values up to `most`."""
    bits = _significant_bits(path.read_bytes())
    if 8 <= bits < 16 and most < 1 << bits:  # not scaled up to 16 bits, as the standard asks for
        return bits - 8
    if most < DARK:
        _warn_of_dark(path.parent)
    return 8


def _significant_bits(content: bytes) -> int:
    """Of the samples of a PNG by its sBIT chunk (PNG 3rd edition, 11.3.2.7), which comes before the data; else 16."""
    at = 8
    while content.startswith(b"\x89PNG") and at + 8 < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"sBIT":
            return max(content[at + 8 : at + 8 + length], default=16)
        if kind == b"IDAT":
            break
        at += 12 + length
    return 16


@cache
def _warn_of_dark(folder: Path) -> None:
    """Warn once in a process."""
    log.warning(
        "images in '%s' have 16 bits and values below %d of 65535, so they are read as nearly black; scale them up to "
        "16 bits, or save them with 8", folder, DARK
    )  # fmt: skip


def decode_image(kind: str, path: Path, flags: int) -> NDArray[Any]:
    """Decode an image file with OpenCV's `flags`; errors call it a `kind`.

    Raises:
        UserError: missing or unreadable.
    """
    try:
        with suppress(UnidentifiedImageError), _open(kind, path):  # OpenCV reads more formats, below a limit of its own
            pass
        # OpenCV is not given the name: it crashes at one that is not UTF-8
        image = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except (OSError, SyntaxError, ValueError, cv2.error):
        image = None
    if image is None:
        raise UserError(_unreadable(kind, path))
    return image


def _read_jpeg(path: Path) -> ImageArray:
    """Read with Pillow, which notices files that are cut short; OpenCV fills them up with grey."""
    try:
        with _open("image", path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(_unreadable("image", path)) from error


@contextmanager
def _open(kind: str, path: Path) -> Iterator[Image.Image]:
    """An image of which Pillow has read the header.

    Raises:
        UserError: of more pixels than anything here takes.
    """
    try:
        image = Image.open(path)
    except Image.DecompressionBombError as error:  # above a limit of its own; the number is in the message only
        check_pixels(f"{kind} '{path}'", int("".join(filter(str.isdigit, str(error).partition("pixels")[0]))))
        raise
    with image:
        check_pixels(f"{kind} '{path}'", image.width * image.height)
        yield image


def _unreadable(kind: str, path: Path) -> str:
    if not path.exists():
        return f"{kind} '{path}' does not exist; check data.root"
    return f"{kind} '{path}' cannot be decoded ({path.stat().st_size} bytes); replace the damaged file"
