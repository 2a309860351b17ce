"""HEVC films of our own carry x265's vectors beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.errors import UserError
from src.video.motion.field import warp
from src.video.reading.decode import Video
from src.video.reading.gop import read_gop, read_keyed
from src.video.types import CodecSettings
from src.video.vectors import x265_analysis
from src.video.vectors.vector_file import vector_file_of
from src.video.writing import encode as encoding_module
from src.video.writing.encode import encode, has_exact_vectors
from tests.support.videos import pan

HEVC = CodecSettings("hevc", gop=4, fps=15, crf=20, preset="medium")
SIZES = [(128, 192), (90, 120), (65, 97), (48, 64)]  # the last too small for the usual coding tree units


@pytest.mark.parametrize(("size", "preset"), [*((size, "medium") for size in SIZES), (SIZES[1], "ultrafast")])
def test_a_pan_is_found_in_quarter_pixels(tmp_path: Path, size: tuple[int, int], preset: str) -> None:
    encode(pan(6, *size, (2.75, -1.5)), tmp_path / "film.mp4", replace(HEVC, preset=preset))
    film = Video(tmp_path / "film.mp4")
    assert film.info.motion == "exact"
    frames = list(film)
    assert [frame.vectors is None for frame in frames] == [True, False, False, False, True, False]
    for frame in frames:
        if frame.vectors is not None:
            area = frame.vectors[:, 2] * frame.vectors[:, 3]
            right = np.abs(frame.vectors[:, 4:] - [2.75, -1.5]).max(1) <= 0.5
            assert area.sum() > 0.9 * size[0] * size[1]
            assert area[right].sum() > 0.8 * area.sum()


def test_random_access_reads_the_same_vectors(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    encode(pan(8, 64, 96, (1, 2)), path, HEVC)
    for frame, other in zip(read_gop(path, 4, 7), list(Video(path))[4:], strict=True):
        assert (frame.vectors is None) == (other.vectors is None)
        if frame.vectors is not None:
            np.testing.assert_array_equal(frame.vectors, other.vectors)


@pytest.mark.parametrize("motion", ["exact", "estimate"])
def test_a_pair_is_joined_by_either_motion(tmp_path: Path, motion: str) -> None:
    path = tmp_path / "film.mp4"
    encode(pan(4, 64, 96, (1, 2)), path, HEVC)
    pair = read_keyed(path, 0, 3, motion)
    moved, valid = warp(pair.key, pair.motion).astype(float), pair.motion.valid
    assert (
        np.square(moved - pair.image)[valid].mean() < 0.1 * np.square(pair.key.astype(float) - pair.image)[valid].mean()
    )


def test_the_film_is_the_same_with_and_without_its_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = pan(5, 64, 96, (1, 2))
    encode(frames, tmp_path / "a.mp4", HEVC)
    options = encoding_module._options
    monkeypatch.setattr(encoding_module, "_options", lambda encoding, analysis: options(encoding, None))
    monkeypatch.setattr(encoding_module, "_keep_vectors", lambda *_: False)
    encode(frames, tmp_path / "b.mp4", HEVC)
    with_analysis, without = (list(Video(tmp_path / f"{name}.mp4", motion="none")) for name in "ab")
    for one, other in zip(with_analysis, without, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_an_unknown_version_falls_back_to_estimation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(x265_analysis, "KNOWN_VERSIONS", ("1.0",))
    path = tmp_path / "film.mp4"
    encode(pan(3, 64, 96, (1, 2)), path, HEVC)
    assert "is not one of 1.0" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]
    assert Video(path, "auto").info.motion == "estimate"
    with pytest.raises(UserError, match=r"video\.motion=estimate"):
        read_keyed(path, 0, 2)
    has_exact_vectors.cache_clear()
    assert not has_exact_vectors("hevc")
    has_exact_vectors.cache_clear()


def test_a_sidecar_of_another_film_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    encode(pan(3, 64, 96, (1, 2)), path, HEVC)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="belongs to another video"):
        Video(path)
    vector_file_of(path).write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        Video(path)
