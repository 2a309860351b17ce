"""Motion vectors of x265's own encodes, from the analysis file that it saves; FFmpeg exports none of HEVC.

The file (x265 4.2, --analysis-save-reuse-level 10) is a header of the parameters and one record per frame, in coding
order: what each coding unit and each prediction unit is, in z-order within coding tree units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KNOWN_VERSIONS = ("4.2",)  # of x265; the file says nothing about its layout
PARAMETERS = "analysis-save-reuse-level=10"  # that make x265 save all of it
PARTS = {256: 64, 64: 32, 16: 16}  # 4x4 squares of a coding tree unit to luma samples of its side; presets differ
_HEADER = 80  # bytes before the first record
_FRAME = np.dtype(
    [
        ("size", "<u4"), ("units", "<u4"), ("poc", "<i4"), ("type", "<i4"), ("cut", "<i4"), ("cost", "<i8"),
        ("ctus", "<i4"), ("parts", "<i4"),
    ]
)  # fmt: skip
_WEIGHTS = 3 * 16  # bytes: weighted prediction of three planes
_P_TYPE, _INTER = 3, 1  # slice type; bit of the prediction mode, which skipped blocks have too
# Rectangles of the prediction units of a coding unit by its partition size, in quarters of its side: x, y, w, h.
_UNITS: tuple[tuple[tuple[int, int, int, int], ...], ...] = (
    ((0, 0, 4, 4),),
    ((0, 0, 4, 2), (0, 2, 4, 2)),
    ((0, 0, 2, 4), (2, 0, 2, 4)),
    ((0, 0, 2, 2), (2, 0, 2, 2), (0, 2, 2, 2), (2, 2, 2, 2)),
    ((0, 0, 4, 1), (0, 1, 4, 3)),
    ((0, 0, 4, 3), (0, 3, 4, 1)),
    ((0, 0, 1, 4), (1, 0, 3, 4)),
    ((0, 0, 3, 4), (3, 0, 1, 4)),
)


class UnknownAnalysis(Exception):
    """The file is not laid out as this reader expects: another version of x265, or other parameters."""


@dataclass(frozen=True)
class _Units:
    """Arrays of one P frame, an entry per prediction unit; coding units have theirs at their first one.

    `ctus` coding tree units have `parts` squares of 4x4 each, in z-order.
    """

    depth: NDArray[np.uint8]
    mode: NDArray[np.uint8]
    partition: NDArray[np.uint8]
    reference: NDArray[np.int8]
    vector: NDArray[np.int32]
    ctus: int
    parts: int


def read_vectors(path: Path, video: Path, height: int, width: int) -> list[NDArray[np.float32] | None]:
    """Per frame (N, 6) rows [x0, y0, w, h, dx, dy] to the previous frame as in `Frame.vectors`; None of an I frame.

    Args:
        path: of the analysis file.
        video: that it is about, which names the version of x265.
        height, width: of the coded frames.

    Raises:
        UnknownAnalysis: another version or layout, or a reference other than the previous frame.
    """
    _check_version(video)
    content = path.read_bytes()
    at = _HEADER
    frames: list[NDArray[np.float32] | None] = []
    while at < len(content):
        if at + _FRAME.itemsize > len(content):
            raise UnknownAnalysis(f"{len(content) - at} bytes after frame {len(frames)}")
        head = np.frombuffer(content, _FRAME, 1, at)[0]
        tree = PARTS.get(int(head["parts"]))
        if tree is None or (head["poc"], head["ctus"]) != (len(frames), -(-height // tree) * -(-width // tree)):
            raise UnknownAnalysis(f"frame {len(frames)} begins with {head}")
        body = content[at + _FRAME.itemsize : at + int(head["size"])]
        frames.append(_blocks(_units(body, head), width) if head["type"] == _P_TYPE else None)
        at += int(head["size"])
    return frames


def _check_version(video: Path) -> None:
    found = re.search(rb"x265 \(build \d+\) - ([0-9.]+)", video.read_bytes())
    version = found[1].decode() if found else "unknown"
    if version not in KNOWN_VERSIONS:
        raise UnknownAnalysis(f"x265 {version} is not one of {', '.join(KNOWN_VERSIONS)}")


def _units(body: bytes, head: np.void) -> _Units:
    """Splits a record, which begins with `head`, into its arrays.

    Raises:
        UnknownAnalysis: its size is not theirs.
    """
    count, ctus, parts = int(head["units"]), int(head["ctus"]), int(head["parts"])
    if len(body) != _WEIGHTS + 17 * count + ctus * parts:
        raise UnknownAnalysis(f"{len(body)} bytes for {count} prediction units")
    names = ("depth", "mode", "quantiser", "partition", "merge", "direction", "chroma", "predictor")
    flat = np.frombuffer(body, np.uint8)
    at = _WEIGHTS
    arrays = {}
    for name in names:
        arrays[name] = flat[at : at + count]
        at += count
    reference = flat[at : at + count].view(np.int8)
    vector = np.frombuffer(body, "<i4", 2 * count, at + count).reshape(count, 2)
    return _Units(arrays["depth"], arrays["mode"], arrays["partition"], reference, vector, ctus, parts)


def _blocks(units: _Units, width: int) -> NDArray[np.float32]:
    """Rows of the inter blocks; the way through the units is that of their depths and partition sizes.

    Raises:
        UnknownAnalysis: the way does not end where the units do, or a block refers to an older frame.
    """
    rows: list[tuple[float, ...]] = []
    unit = part = ctu = 0
    tree = PARTS[units.parts]  # side of a coding tree unit
    across = -(-width // tree)
    while unit < len(units.depth):
        depth, partition = int(units.depth[unit]), int(units.partition[unit])
        if tree >> depth < 8 or partition >= len(_UNITS):
            raise UnknownAnalysis(f"depth {depth}, partition {partition}")
        side, (x, y) = tree >> depth, _corner(part)
        x, y = x + ctu % across * tree, y + ctu // across * tree
        rectangles = _UNITS[partition]
        if units.mode[unit] & _INTER:
            if units.reference[unit : unit + len(rectangles)].any():
                raise UnknownAnalysis("a block refers to another frame than the previous one")
            vectors = units.vector[unit : unit + len(rectangles)] / 4
            for (left, top, w, h), (dx, dy) in zip(rectangles, vectors, strict=True):
                quarter = side / 4
                rows.append((x + left * quarter, y + top * quarter, w * quarter, h * quarter, dx, dy))
        unit += len(rectangles)
        part += units.parts >> 2 * depth
        ctu, part = ctu + part // units.parts, part % units.parts
    if part or ctu != units.ctus:
        raise UnknownAnalysis(f"the units end at part {part} of tree {ctu}")
    return np.array(rows, np.float32).reshape(-1, 6)


def _corner(part: int) -> tuple[int, int]:
    """(x, y) in luma samples of a 4x4 square, from its place in z-order: x in the even bits, y in the odd ones."""
    x = sum((part >> 2 * bit & 1) << bit for bit in range(4))
    y = sum((part >> 2 * bit + 1 & 1) << bit for bit in range(4))
    return 4 * x, 4 * y
