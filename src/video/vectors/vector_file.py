"""Motion vectors in a file beside a video, for codecs whose vectors FFmpeg does not export."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError

SUFFIX = ".vectors.npz"
Vectors = NDArray[np.float32] | None


def vector_file_of(video: Path) -> Path:
    """Return the path of the vector file of a video, which need not exist."""
    return video.with_suffix(SUFFIX)


def write_vector_file(video: Path, frames: list[Vectors]) -> None:
    """Write (N, 6) rows [x0, y0, w, h, dx, dy] per frame, dx and dy in quarter pixels; None of a keyframe."""
    rows = [np.zeros((0, 6), np.float32) if vectors is None else vectors for vectors in frames]
    np.savez_compressed(
        vector_file_of(video),
        rows=np.round(np.concatenate(rows) * np.array([1, 1, 1, 1, 4, 4])).astype(np.int16),
        counts=np.array([-1 if vectors is None else len(vectors) for vectors in frames]),
        bytes=video.stat().st_size,
    )


def read_vector_file(video: Path) -> tuple[Vectors, ...]:
    """Vectors by frame index; the arrays are shared, not to be written to.

    Raises:
        UserError: a file that is torn, or of another video.
    """
    path = vector_file_of(video)
    return _read(path, video.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, video_bytes: int, modified: int) -> tuple[Vectors, ...]:
    try:
        with np.load(path) as archive:
            rows, counts, stated = archive["rows"], archive["counts"], int(archive["bytes"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"'{path}' cannot be read; remove it and its video and prepare the video again") from error
    if stated != video_bytes:
        raise UserError(f"'{path}' belongs to another video than the one beside it; remove both and prepare them again")
    scaled = rows.astype(np.float32) * np.array([1, 1, 1, 1, 0.25, 0.25], np.float32)
    spans = zip(counts.tolist(), np.cumsum(np.maximum(counts, 0)).tolist(), strict=True)
    return tuple(None if count < 0 else scaled[end - count : end] for count, end in spans)
