"""Vector files are user files: damaged or foreign ones are rejected, whatever they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.errors import UserError
from src.video.vectors.vector_file import read_vector_file, vector_file_of, write_vector_file

ROWS = np.array([[0, 8, 16, 8, -5, 2], [16, 8, 16, 8, 1, 1]], np.int16)
GOOD: dict[str, Any] = {"rows": ROWS, "counts": np.array([-1, 2]), "bytes": 4}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"0123")
    write_vector_file(path, [None, ROWS.astype(np.float32)])
    return path


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": np.full((2, 6), np.nan, np.float32)},
        {"rows": np.full((2, 6), 1e30)},
        {"rows": ROWS[:, :5]},
        {"rows": ROWS.reshape(-1)},
        {"rows": np.array([[0, 0, -16, 8, 1, 1]] * 2, np.int16)},
        {"rows": np.array([None, "a"], object)},
        {"counts": np.array([-1, 3])},
        {"counts": np.array([-1, 1])},
        {"counts": np.array([2**62, 2**62, 2**62, 2**62 + 2])},  # their sum overflows to 2
        {"counts": np.array([-1.0, 2.0])},
        {"counts": np.array(2)},
        {"bytes": np.array([4, 4])},
    ],
    ids=str,
)
def test_arrays_that_no_encoder_writes_are_rejected(video: Path, changed: dict[str, Any]) -> None:
    np.savez_compressed(vector_file_of(video), **{**GOOD, **changed})
    with pytest.raises(UserError, match=r"cannot be read \(.+\); remove it"):
        read_vector_file(video)


def test_flipped_bits_and_cut_files_give_one_line_or_the_same_shapes(video: Path) -> None:
    path = vector_file_of(video)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    rejected = 0
    for number in range(60):
        spoilt = bytearray(content[: rng.integers(len(content))] if number % 6 == 0 else content)
        if number % 6 and spoilt:
            spoilt[rng.integers(len(spoilt))] ^= 1 << int(rng.integers(8))
        other = video.with_name(f"{number}.mp4")  # the reader remembers files by name and time
        other.write_bytes(b"0123")
        vector_file_of(other).write_bytes(spoilt)
        try:
            assert [None if rows is None else rows.shape for rows in read_vector_file(other)] == [None, (2, 6)]
        except UserError:
            rejected += 1
    assert rejected >= 10


def test_a_small_file_that_promises_gigabytes_is_rejected(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.files.MAX_ARRAYS", 100)
    with pytest.raises(UserError, match="more than 100 bytes of arrays"):
        read_vector_file(video)
