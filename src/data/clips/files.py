"""Write and read one prepared clip: video, labels and a record of what it was made from and what the files hold.

The record is written last. A clip whose record exists and whose files have the sizes it states counts as made.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import av
import cv2
import numpy as np

from src.data.images import ImageArray
from src.video.types import CodecSettings
from src.video.vectors import vector_file
from src.video.writing import encode

VIDEO, LABELS, RECORD = ".mp4", ".npz", ".json"
PARTS = {"film": VIDEO, "labels": LABELS, "vectors": vector_file.SUFFIX}  # vectors of HEVC videos only
UNFINISHED, OWNER = ".unfinished", "owner"  # end of the name of a folder, and the file in it that its maker locks
ABANDONED = 24 * 3600  # seconds after which a folder of another machine without a lock is given up
TOOLS = {
    "av": av.__version__,
    "ffmpeg": {name: ".".join(map(str, version)) for name, version in av.library_versions.items()},
    "opencv": cv2.__version__,
    "numpy": np.__version__,
}

Record = dict[str, Any]


class Job(Protocol):
    """Frames to encode, see `src.data.clips.cache.ClipJob`."""

    name: str
    start: int

    def frames(self) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """RGB and labels."""


def place_of(cache: Path, key: str) -> Path:
    """Path of a clip's files without their suffixes: in one of 256 folders, as huge folders are slow."""
    return cache / key[:2] / key


def flat_place_of(cache: Path, key: str) -> Path:
    """Where earlier versions put the files of a clip."""
    return cache / key


def write_clip(job: Job, place: Path, encoding: CodecSettings, cache: Path) -> Record:
    """Make the files of a clip in a cache, the record last; return its content.

    Whatever moment the process is killed at, a file under its name is whole.

    Raises:
        UserError: as the frames of the job do.
    """
    with unfinished_folder(cache) as workplace:
        record = _write(job, workplace / place.name, encoding)
        keep_clip(workplace / place.name, place)
    if place == place_of(cache, place.name):
        remove_clip(flat_place_of(cache, place.name))
    return record


def _write(job: Job, place: Path, encoding: CodecSettings) -> Record:
    content = _Content(job)
    encoded = encode.encode(content.images(), place.with_suffix(VIDEO), encoding)
    np.savez_compressed(place.with_suffix(LABELS), **content.labels)  # type: ignore[arg-type]
    record = {
        "name": job.name,
        "key": place.name,
        "start": job.start,
        "length": encoded.frames,
        "labelled": sorted(map(int, content.labels)),
        "keyframes": list(encoded.keyframes),
        "psnr_y": round(encoded.psnr_y, 3) if math.isfinite(encoded.psnr_y) else None,  # nothing was lost
        "source": content.digest(),
        "encoding": {key: value if key != "fps" else str(value) for key, value in asdict(encoding).items()},
        "tools": TOOLS,
    }
    for part, suffix in PARTS.items():
        if place.with_suffix(suffix).exists():
            record[part] = describe(place.with_suffix(suffix))
    _write_record(place, record)
    return record


def keep_clip(made: Path, place: Path) -> None:
    """Move the files of a clip to its place in the same file system, the record last."""
    place.parent.mkdir(exist_ok=True)
    for suffix in (*PARTS.values(), RECORD):
        with suppress(FileNotFoundError):
            os.replace(made.with_suffix(suffix), place.with_suffix(suffix))


def remove_clip(place: Path) -> None:
    """Remove the files of a clip, the record first."""
    for suffix in (RECORD, *PARTS.values()):
        place.with_suffix(suffix).unlink(missing_ok=True)


def note_damage(place: Path, job: Job, message: str, cache: Path) -> None:
    """Record that a clip cannot be made, so that it is not tried again at each start."""
    with unfinished_folder(cache) as workplace:
        _write_record(workplace / place.name, {"name": job.name, "key": place.name, "damaged": message})
        keep_clip(workplace / place.name, place)


def _write_record(place: Path, record: Record) -> None:
    place.with_suffix(RECORD).write_text(json.dumps(record, sort_keys=True) + "\n")


@contextmanager
def unfinished_folder(cache: Path) -> Iterator[Path]:
    """A folder in the cache, gone afterwards; it is locked, so `remove_leftovers` knows when its process was killed."""
    with TemporaryDirectory(prefix=".", suffix=UNFINISHED, dir=cache) as name:
        folder = Path(name)
        with (folder / f"new_{OWNER}").open("w") as lock:
            with suppress(OSError):  # a file system without locks: there only its owner removes a folder
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this file, not of the process as in src.locks
                print(socket.gethostname(), file=lock, flush=True)
                os.replace(lock.name, folder / OWNER)  # it is there only when it is locked
            yield folder


def remove_leftovers(cache: Path) -> None:
    """Remove what killed processes have left unfinished, on this machine or another one."""
    for folder in cache.glob(f".*{UNFINISHED}"):
        with suppress(OSError), (folder / OWNER).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its maker lives
            # some file systems keep locks to each machine: nothing is known there about those of others
            is_mine = lock.read().strip() == socket.gethostname()
            if is_mine or time.time() - os.fstat(lock.fileno()).st_mtime > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # killed before it could lock
            if not (folder / OWNER).exists() and time.time() - folder.stat().st_mtime > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)


class _Content:
    """Pass on the images of a job, keep its labels and hash both."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._hash = hashlib.sha256()
        self.labels: dict[str, ImageArray] = {}

    def images(self) -> Iterator[ImageArray]:
        for index, (image, labels) in enumerate(self._job.frames()):
            self._hash.update(np.ascontiguousarray(image).data)
            if labels is not None:
                self._hash.update(np.ascontiguousarray(labels).data)
                self.labels[str(index)] = labels
            yield image

    def digest(self) -> str:
        return self._hash.hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_record(place: Path) -> Record | None:
    """The record of a clip, None where there is none or it is damaged or of another clip."""
    record = _json_of(place)
    return record if is_record(record) and record["key"] == place.name else None


def read_damage(place: Path) -> str | None:
    """Why a clip could not be made, from `note_damage`; None where nothing is noted."""
    record = _json_of(place)
    return str(record["damaged"]) if isinstance(record, dict) and "damaged" in record else None


def _json_of(place: Path) -> Any:
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(place.with_suffix(RECORD).read_text())
    return None


def is_record(record: Any) -> bool:
    """Check the kinds of what is used of a record."""
    try:
        return (
            all(isinstance(record[key], str) for key in ("name", "key"))
            and isinstance(record["length"], int)
            and all(isinstance(index, int) and 0 <= index < record["length"] for index in record["labelled"])
            and all(isinstance(record[part]["bytes"], int) for part in PARTS if part != "vectors" or part in record)
        )
    except (KeyError, TypeError):
        return False


def part_faults(place: Path, record: Record, contents: bool = True) -> list[str]:
    """Compare the files of a clip with its record: missing, of another size, or, with `contents`, other bytes."""
    found = []
    for part, suffix in PARTS.items():
        path = place.with_suffix(suffix)
        if part not in record:
            continue
        if not path.is_file():
            found.append(f"missing: {path.name}")
        elif path.stat().st_size != record[part]["bytes"]:
            found.append(f"torn: {path.name} has {path.stat().st_size} of {record[part]['bytes']} bytes")
        elif contents and describe(path) != record[part]:
            found.append(f"different: {path.name} is not the file that was made")
    return found
