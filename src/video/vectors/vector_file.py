"""Motion vectors in a file beside a video, for codecs whose vectors FFmpeg does not export."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError
from src.files import read_arrays

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
        rows, counts, stated = read_arrays(path, ("rows", "counts", "bytes"))
        if stated.size == 1 and stated.item() != video_bytes:
            raise UserError(
                f"'{path}' belongs to another video than the one beside it; remove both and prepare them again"
            )
        lengths = np.maximum(counts, 0)
        if (
            rows.dtype != np.int16
            or rows.ndim != 2
            or rows.shape[1] != 6
            or counts.ndim != 1
            or counts.dtype.kind != "i"
            or lengths.max(initial=0) > len(rows)
            or lengths.sum() != len(rows)
            or stated.size != 1
            or (rows[:, 2:4] < 0).any()
        ):
            raise ValueError("no motion vectors")
    except ValueError as error:
        raise UserError(
            f"'{path}' cannot be read ({error}); remove it and its video and prepare the video again"
        ) from error
    scaled = rows.astype(np.float32) * np.array([1, 1, 1, 1, 0.25, 0.25], np.float32)
    spans = zip(counts.tolist(), np.cumsum(lengths).tolist(), strict=True)
    return tuple(None if count < 0 else scaled[end - count : end] for count, end in spans)
