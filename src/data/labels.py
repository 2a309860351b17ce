"""What label values mean: class names, colours, and reading label pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from src.errors import UserError

IGNORE = 255


@dataclass(frozen=True)
class ClassSet:
    """Names and RGB palette of the classes 0..K-1; every other label value is `IGNORE`."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return len(self.names)

    def colour(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB picture (H, W, 3) of index labels (H, W); ignored pixels are black."""
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


def read_picture(path: Path) -> NDArray[np.uint8]:
    """RGB picture (H, W, 3).

    Raises:
        UserError: missing or unreadable file.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(_unreadable("picture", path))
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def read_index_labels(path: Path, table: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Labels (H, W) of an 8-bit index picture, mapped through `table` (256 entries, -1 = not allowed).

    Raises:
        UserError: unreadable, not one channel of 8 bits, or a value outside the table.
    """
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise UserError(_unreadable("label picture", path))
    if values.ndim != 2 or values.dtype != np.uint8:
        raise UserError(f"label picture '{path}' is not 8-bit indices of one channel; give index labels")
    labels = table[values]
    if (labels < 0).any():
        wrong = sorted(set(values[labels < 0].tolist()))
        allowed = np.flatnonzero(table >= 0)
        raise UserError(
            f"label picture '{path}' has the values {wrong}; only {allowed.min()}..{allowed.max()} are classes, "
            "correct the file or the class list"
        )
    return np.asarray(labels, np.uint8)


def read_colour_labels(path: Path, colours: dict[tuple[int, int, int], int]) -> NDArray[np.uint8]:
    """Labels (H, W) of an RGB colour picture by exact colour; colours not in the table are ignored.

    Raises:
        UserError: missing or unreadable file.
    """
    packed = read_picture(path).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    labels = np.full(packed.shape, IGNORE, np.uint8)
    for (red, green, blue), index in colours.items():
        labels[packed == (red << 16) + (green << 8) + blue] = index
    return labels


def _unreadable(kind: str, path: Path) -> str:
    if not path.exists():
        return f"{kind} '{path}' does not exist; check data.root"
    return f"{kind} '{path}' cannot be decoded ({path.stat().st_size} bytes); replace the damaged file"
