"""Drawn videos keep the times, the start and the pixels' shape of their source."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from src.video.reading.decode import Video
from src.video.writing.retimed import RetimedVideo
from tests.support.videos import ONE_REFERENCE, pan, write

IMAGES = pan(6, 48, 64, (2, 1))


def redrawn(path: Path) -> Video:
    source, drawn = Video(path, "none"), path.with_name("drawn.mp4")
    with RetimedVideo(drawn, source, 1) as video:
        for frame in source:
            video.write(frame.image, frame.pts)
    return Video(drawn, "none")


@pytest.mark.parametrize("turned", [0, 90])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, turned: int) -> None:
    def shape(stream: object) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)  # type: ignore[attr-defined]
        if turned:
            stream.set_display_rotation(turned)  # type: ignore[attr-defined]

    path = write(tmp_path / "film.mp4", IMAGES, "libx264", ONE_REFERENCE, setup=shape)
    assert redrawn(path).info.sample_aspect_ratio == (Fraction(45, 64) if turned else Fraction(64, 45))


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_a_late_start_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"film{suffix}", IMAGES, "libx264", ONE_REFERENCE, fps=25, pts=range(2000000, 2000006))
    assert Video(path, "none").info.start >= 80000
    assert [frame.pts for frame in redrawn(path)] == [Fraction(index, 25) for index in range(6)]


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_gaps_are_kept_and_never_too_long_for_the_muxer(tmp_path: Path, suffix: str) -> None:
    for gap in (10, 60000):
        times = [0, 1, 2, 3 + 25 * gap, 4 + 25 * gap, 5 + 25 * gap]
        path = write(tmp_path / f"film{gap}{suffix}", IMAGES, "libx264", ONE_REFERENCE, fps=25, pts=times)
        found = [frame.pts for frame in redrawn(path)]
        assert len(found) == 6
        assert found[5] - found[3] == Fraction(2, 25)
        longest = Fraction(2**30, 90000) if suffix == ".ts" else gap + 1
        assert found[3] - found[2] == min(gap + Fraction(1, 25), longest)


def test_a_clock_that_begins_anew_goes_on(tmp_path: Path) -> None:
    path, joined = write(tmp_path / "film.ts", IMAGES, "libx264", ONE_REFERENCE, fps=25), tmp_path / "joined.ts"
    joined.write_bytes(path.read_bytes() * 2)
    assert [frame.pts for frame in redrawn(joined)] == [Fraction(index, 25) for index in range(12)]
