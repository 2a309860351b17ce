"""Frames of a video with labels, motion and the predictions of several systems: one file for the player of a report."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.labels import IGNORE, ClassSet
from src.errors import UserError
from src.files import as_json, atomic_write
from src.video.motion.field import rasterise
from src.video.types import Frame

RECORD = "player.zip"
FORMAT = 1
MOST_SYSTEMS = 4
LONGEST = 640  # pixels of a side; larger frames are stored smaller
QUALITIES = (80, 65, 50, 35, 20, 10)  # of WebP, for the frames; label maps are stored exactly
BUDGET = 66_000  # bytes of a frame, which 300 of keep a page below 30 MB: the best quality that fits is taken
MOTION_STEP = 16  # stored pixels from vector to vector
MOTION_UNIT = 0.25  # stored pixels
UNKNOWN = -(2**15)
MAX_FRAMES, MAX_PART = 100_000, 2**24  # of a file that is read
CONTENT = "player.json"


@dataclass(frozen=True)
class Recorded:
    """Name the video, systems and classes of a record.

    Attributes:
        title: of the video.
        systems: names, in the order of the predictions.
        reference: number of the system that the others are compared with; None for none.
        fps: frames per second.
        classes: names.
        palette: RGB of the classes.
    """

    title: str
    systems: tuple[str, ...]
    reference: int | None
    fps: float
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


class PlayerRecord:
    """Writes a `player.zip`, complete under its name once the context ends without an error.

    Its parts: `player.json`; for each frame the image as WebP; compressed by zlib its label map, if there is one, and
    those of the systems (N, H, W) uint8; and compressed by zlib the vectors to the frame before, (rows, columns, 2)
    int16 in quarters of a pixel, UNKNOWN where there is none, at the middle of squares of `MOTION_STEP` pixels.

    Args:
        path: of the file.
        title: of the video.
        classes: of label maps and predictions.
        systems: names of at most `MOST_SYSTEMS`.
        reference: number of the system that the others are compared with.
        fps: frames per second.
    """

    def __init__(
        self, path: Path, title: str, classes: ClassSet, systems: Sequence[str], reference: int | None, fps: float
    ) -> None:
        self._about = Recorded(title, tuple(systems), reference, fps, classes.names, classes.palette)
        self._path, self._stack = path, ExitStack()
        self._frames: list[dict[str, Any]] = []
        self._size = (0, 0)

    def __len__(self) -> int:
        return len(self._frames)

    def put(
        self,
        frame: Frame,
        is_key: bool,
        predictions: Sequence[NDArray[np.uint8]],
        labels: NDArray[np.uint8] | None = None,
    ) -> None:
        """Add the next frame.

        Args:
            frame: with its vectors.
            is_key: whether it is a keyframe of the method.
            predictions: (H, W) of each system, of any size.
            labels: (H, W), 255 = ignore; None where the frame has none.
        """
        height, width = frame.image.shape[:2]
        scale = min(1.0, LONGEST / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        self._size, name = self._size if self._frames else size, f"{len(self._frames):06d}"
        maps = [_resized(plane, self._size) for plane in ([] if labels is None else [labels]) + list(predictions)]
        packed = zlib.compress(np.stack(maps).tobytes(), 9)
        image = np.asarray(cv2.resize(frame.image, self._size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        self._zip.writestr(f"{name}.webp", _coded(image, BUDGET - len(packed)))
        self._zip.writestr(f"{name}.maps", packed)
        if frame.vectors is not None and not is_key:
            self._zip.writestr(f"{name}.motion", zlib.compress(_vectors(frame, self._size).tobytes(), 9))
        row = {"index": frame.index, "type": frame.frame_type, "key": is_key, "damaged": frame.damaged}
        self._frames.append({**row, "labelled": labels is not None})

    def __enter__(self) -> PlayerRecord:
        with self._stack:
            temporary = self._stack.enter_context(atomic_write(self._path))
            self._zip = self._stack.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            height, width = self._size
            about = {"format": FORMAT, **asdict(self._about), "height": height, "width": width, "frames": self._frames}
            self._zip.writestr(CONTENT, as_json(about))
        self._stack.__exit__(kind, error, trace)


@dataclass(frozen=True)
class StoredFrame:
    """A frame of a `player.zip`.

    Attributes:
        about: `index`, `type`, `key`, `damaged` and `labelled`.
        image: WebP.
        maps: (N, H, W) compressed by zlib, as of `PlayerRecord`.
        motion: the vectors, compressed by zlib; None where it has none.
    """

    about: dict[str, Any]
    image: bytes
    maps: bytes
    motion: bytes | None


def read_record(path: Path) -> tuple[dict[str, Any], list[StoredFrame]]:
    """Return the content of `player.json` and the frames of a `player.zip`.

    Raises:
        UserError: it cannot be read, or was not written by `PlayerRecord`.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            about = json.loads(_part(parts, CONTENT))
            names, rows = set(parts.namelist()), about["frames"]
            if about["format"] != FORMAT or len(rows) > MAX_FRAMES or len(about["systems"]) > MOST_SYSTEMS:
                raise ValueError(f"format {about['format']} with {len(about['systems'])} systems")
            frames = [
                StoredFrame(
                    row,
                    _part(parts, f"{n:06d}.webp"),
                    _part(parts, f"{n:06d}.maps"),
                    _part(parts, f"{n:06d}.motion") if f"{n:06d}.motion" in names else None,
                )
                for n, row in enumerate(rows)
            ]
            for frame in frames:
                label_maps(about, frame)
            return about, frames
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"'{path}' cannot be read ({error}); make it again with player=N of src.eval") from error


def label_maps(about: dict[str, Any], frame: StoredFrame) -> NDArray[np.uint8]:
    """Return the maps (N, H, W) of a frame: its label map, where it has one, and those of the systems.

    Raises:
        ValueError: they have another size.
    """
    count, height, width = len(about["systems"]) + bool(frame.about["labelled"]), about["height"], about["width"]
    planes = zlib.decompressobj().decompress(frame.maps, count * height * width + 1)
    return np.frombuffer(planes, np.uint8).reshape(count, height, width)


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float | None:
    """Return the share 0..1 of the pixels of (H, W) labels that have the other's class; None if all are ignored."""
    known = (one != IGNORE) & (other != IGNORE)
    return float((one == other)[known].mean()) if known.any() else None


def _coded(image: NDArray[np.uint8], most: int) -> bytes:
    """Return an image (H, W, 3) RGB as WebP, of the best quality that has at most so many bytes, or the lowest."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    for quality in QUALITIES:
        coded = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        if len(coded) <= most:
            break
    return bytes(coded)


def _part(parts: zipfile.ZipFile, name: str) -> bytes:
    if parts.getinfo(name).file_size > MAX_PART:
        raise ValueError(f"{name} has more than {MAX_PART} bytes")
    return parts.read(name)


def _resized(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _vectors(frame: Frame, size: tuple[int, int]) -> NDArray[np.int16]:
    height, width = frame.image.shape[:2]
    motion = rasterise(frame.vectors, height, width)  # type: ignore[arg-type]
    rows, columns = (np.arange(MOTION_STEP // 2, side, MOTION_STEP) / side for side in size)
    place = np.ix_((rows * height).astype(int), (columns * width).astype(int))
    scale = np.array([size[1] / width, size[0] / height], np.float32) / MOTION_UNIT
    field = np.stack([axis[place] for axis in motion.field], -1) * scale
    vectors = np.clip(np.rint(field), -(2**15) + 1, 2**15 - 1)
    return np.where(motion.valid[place][..., None], vectors, UNKNOWN).astype("<i2")
