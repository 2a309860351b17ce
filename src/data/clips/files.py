"""Write and read one prepared clip: video, labels and a record of what it was made from and what the files hold.

The record is written last. A clip whose record exists and whose files have the sizes it states counts as made.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import socket
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
from src.files import atomic_write
from src.video.types import CodecSettings
from src.video.vectors import vector_file
from src.video.writing import encode

VIDEO, LABELS, RECORD = ".mp4", ".npz", ".json"
PARTS = {"film": VIDEO, "labels": LABELS, "vectors": vector_file.SUFFIX}  # vectors of HEVC videos only
MANIFEST = "manifest.jsonl"
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


def write_clip(job: Job, place: Path, encoding: CodecSettings) -> Record:
    """Make the files of a clip, the record last; return its content.

    Whatever moment the process is killed at, a file under its name is whole.

    Raises:
        UserError: as the frames of the job do.
    """
    with unfinished_folder(place.parent) as workplace:
        record = _write(job, workplace / place.name, encoding)
        keep_clip(workplace / place.name, place.parent)
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
    place.with_suffix(RECORD).write_text(json.dumps(record, sort_keys=True) + "\n")
    return record


def keep_clip(place: Path, cache: Path) -> None:
    """Move the files of a clip into another folder of the same file system, the record last."""
    for suffix in (*PARTS.values(), RECORD):
        with suppress(FileNotFoundError):
            os.replace(place.with_suffix(suffix), (cache / place.name).with_suffix(suffix))


@contextmanager
def unfinished_folder(cache: Path) -> Iterator[Path]:
    """A folder in the cache, gone afterwards; where the process is killed, `remove_leftovers` knows it by its name."""
    with TemporaryDirectory(prefix=".", suffix=f".{socket.gethostname()}.{os.getpid()}", dir=cache) as folder:
        yield Path(folder)


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
    """The record of a clip, None where there is none or it is torn."""
    with suppress(OSError, ValueError):
        record = json.loads(place.with_suffix(RECORD).read_text())
        if isinstance(record, dict) and {"name", "key", "length", "labelled", "film", "labels"} <= set(record):
            return record
    return None


def is_made(place: Path) -> bool:
    """Check that record and files are there, with the sizes that the record states."""
    record = read_record(place)
    with suppress(OSError):
        return record is not None and all(
            place.with_suffix(suffix).stat().st_size == record[part]["bytes"]
            for part, suffix in PARTS.items()
            if part in record
        )
    return False


def write_manifest(cache: Path) -> Path:
    """Write the records of all clips of a folder, one a line, sorted; its path.

    Several machines may do so at the same time: each looks again after writing, so whoever finishes last has
    seen the clips of all.
    """
    path = cache / MANIFEST
    while (text := _records(cache)) != (path.read_text() if path.exists() else None):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    return path


def _records(cache: Path) -> str:
    records = [record for path in cache.glob(f"*{RECORD}") if (record := read_record(path.with_suffix("")))]
    records.sort(key=lambda record: (record["name"], record["key"]))
    return "".join(json.dumps(record, sort_keys=True) + "\n" for record in records)


def remove_leftovers(cache: Path) -> None:
    """Remove what processes of this machine that are gone have left unfinished."""
    for path in cache.glob(f".*{socket.gethostname()}.*"):
        owner = path.name.rsplit(".", 1)[-1]
        if owner.isdecimal() and not _is_alive(int(owner)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's
        return True
    return True
