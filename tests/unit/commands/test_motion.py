"""`src.motion`: the film with its motion, and the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.commands.motion import MotionOptions, export_motion
from src.errors import UserError
from src.video.reading.decode import Video
from src.video.types import CodecSettings
from src.video.writing.encode import encode
from tests.support.videos import pan


def request(source: Path, **changes: object) -> MotionOptions:
    given = {"motion": "auto", "on_damage": "stop", "to": "previous", "style": "arrows", "longest": 16, "threads": 1}
    return MotionOptions(str(source), **{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode(pan(6, 64, 96, (6, 0)), path, CodecSettings("h264", 4, 15, crf=15))
    return path


def test_vectors_are_those_of_the_film(film: Path, tmp_path: Path) -> None:
    assert export_motion(request(film), tmp_path) == 6
    with np.load(tmp_path / "vectors.npz") as archive:
        expected = {f"{f.index:06d}": f.vectors for f in Video(film) if f.vectors is not None}
        assert sorted(archive) == sorted(expected) == ["000001", "000002", "000003", "000005"]
        for name, rows in expected.items():
            np.testing.assert_array_equal(archive[name], rows)


@pytest.mark.parametrize("style", ["arrows", "wheel"])
def test_the_drawing_has_the_times_of_the_film_and_shows_motion(film: Path, tmp_path: Path, style: str) -> None:
    export_motion(request(film, style=style, to="key"), tmp_path)
    drawn, source = list(Video(tmp_path / "motion.mp4", "none")), list(Video(film, "none"))
    assert [f.pts for f in drawn] == [f.pts for f in source]
    colour = [np.ptp(f.image.astype(int), axis=-1).mean() for f in drawn]
    assert np.ptp(source[3].image.astype(int), axis=-1).mean() < 3, "a grey film"
    assert min(colour[1:4]) > 4
    if style == "wheel":
        assert colour[3] > 1.5 * colour[1], "motion to the keyframe grows"


@pytest.mark.parametrize(
    "change",
    [{"style": "flow"}, {"on_damage": "skip"}, {"to": "next"}, {"longest": 0}, {"longest": None}, {"motion": "none"}],
)
def test_wrong_choices_are_refused(film: Path, change: dict) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        request(film, **change)
