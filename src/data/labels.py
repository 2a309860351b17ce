"""Read label maps, and name and colour their classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.data.images import decode_image, is_jpeg, read_image
from src.errors import UserError

IGNORE = 255

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassSet:
    """Names and RGB palette of the classes 0..K-1; every other label value is `IGNORE`."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...]

    def __len__(self) -> int:
        return len(self.names)

    def colour(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB image (H, W, 3) of index labels (H, W); ignored pixels are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.palette
        coloured: NDArray[np.uint8] = table[labels]
        return coloured

    def as_dict(self) -> dict[str, Any]:
        """Plain Python form for checkpoints."""
        return {"names": list(self.names), "palette": [list(c) for c in self.palette]}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> ClassSet:
        """Inverse of `as_dict`."""
        return cls(tuple(plain["names"]), tuple((int(r), int(g), int(b)) for r, g, b in plain["palette"]))


class LabelCoding(ABC):
    """The coding of classes in label maps; picklable, and compared by value."""

    @abstractmethod
    def read(self, path: Path) -> NDArray[np.uint8]:
        """Labels (H, W): classes 0..K-1 or `IGNORE`.

        Raises:
            UserError: missing, unreadable or of another coding, or a value that is neither class nor ignored.
        """


@dataclass(frozen=True)
class IndexCoding(LabelCoding):
    """Indices 0..255, of one channel or with a palette; in files of 16 bits too.

    Attributes:
        classes: class by index value.
        ignored: index values without a class; every value that is in neither is an error.
    """

    classes: tuple[tuple[int, int], ...]
    ignored: tuple[int, ...]

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Labels (H, W)."""
        table = np.full(256, -1, np.int16)
        table[list(self.ignored)] = IGNORE
        for value, index in self.classes:
            table[value] = index
        values = _read_indices(path)
        labels = table[values]
        if (labels < 0).any():
            wrong = sorted(set(values[labels < 0].tolist()))
            raise UserError(
                f"label map '{path}' has the values {wrong}; only {_ranges(np.flatnonzero(table >= 0).tolist())} "
                "are known, correct the file or the class list"
            )
        return np.asarray(labels, np.uint8)


@dataclass(frozen=True)
class ColourCoding(LabelCoding):
    """RGB colours, compared exactly.

    Attributes:
        classes: class by colour.
        ignored: colours without a class; None: all that are not a class's.
    """

    classes: tuple[tuple[Colour, int], ...]
    ignored: tuple[Colour, ...] | None

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Labels (H, W)."""
        _reject_lossy(path)
        packed = read_image(path).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        labels = np.full(packed.shape, IGNORE, np.uint8)
        for colour, index in self.classes:
            labels[packed == _packed(colour)] = index
        if self.ignored is not None:
            known = [_packed(colour) for colour, _ in self.classes] + [_packed(colour) for colour in self.ignored]
            foreign = np.setdiff1d(packed, known)
            if len(foreign):
                shown = [tuple(int(v) >> shift & 255 for shift in (16, 8, 0)) for v in foreign[:3]]
                raise UserError(
                    f"label map '{path}' has {len(foreign)} colours that no class has, such as {shown}; add "
                    "them to the class list, or to what it ignores"
                )
        return labels


def _reject_lossy(path: Path) -> None:
    with suppress(OSError), path.open("rb") as file:
        head = file.read(4096)
        if is_jpeg(path) or (head[8:12] == b"WEBP" and b"VP8 " in head):
            raise UserError(
                f"label map '{path}' is a file of lossy compression (JPEG, WebP), which changes values along edges; "
                "make it anew from its source, as PNG"
            )


def _packed(colour: Colour) -> int:
    return (colour[0] << 16) + (colour[1] << 8) + colour[2]


def _read_indices(path: Path) -> NDArray[np.uint8]:
    _reject_lossy(path)
    values = decode_image("label map", path, cv2.IMREAD_UNCHANGED)
    widened = 1
    with suppress(OSError, Image.DecompressionBombError), Image.open(path) as image:  # a format that OpenCV alone reads
        if image.mode in ("1", "P"):  # which OpenCV shows as 0 and 255, and in colour
            return np.asarray(image, np.uint8)
        widened = _WIDENED.get(str(image.tile[0][-1]), 1)
    if values.ndim != 2 or values.dtype not in (np.uint8, np.uint16):
        raise UserError(f"label map '{path}' is not indices of 8 bits and one channel; give index labels")
    if values.max(initial=0) > IGNORE:
        raise UserError(f"label map '{path}' has values up to {values.max()}; give indices of 8 bits, 0 to {IGNORE}")
    return np.asarray(values // widened, np.uint8)


_WIDENED = {"L;2": 85, "L;4": 17}  # greyscale of 2 and 4 bits: factor that decoders multiply values by


def _ranges(values: list[int]) -> str:
    """For messages: 0..11, 255."""
    starts = [v for v in values if v - 1 not in values]
    ends = [v for v in values if v + 1 not in values]
    return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(starts, ends, strict=True))
