"""Frames by index, from films of other people's encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.errors import UserError
from src.video.reading.random_access import count_frames, read_frames
from tests.support.videos import pan, write

FRAMES = pan(20, 48, 64, (2, 1))
KINDS = [
    ("film.mp4", "libx264", {"x264-params": "keyint=6:bframes=3:open-gop=1", "crf": "10"}, None),
    ("film.mkv", "libx265", {"x265-params": "keyint=5:bframes=2:log-level=error", "crf": "10"}, None),
    ("film.avi", "mjpeg", {"qscale": "2"}, None),
    ("film.avi", "mpeg4", {"g": "7", "qscale": "2"}, None),
    ("film.mov", "mpeg2video", {"g": "6", "bf": "2", "qscale": "2"}, None),
    ("film.mp4", "libx264", {"crf": "10"}, [i * i for i in range(20)]),  # variable frame rate
]


@pytest.mark.parametrize(("name", "codec", "options", "pts"), KINDS)
def test_any_frame_of_any_film(tmp_path: Path, name: str, codec: str, options: dict, pts: list[int] | None) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write(tmp_path / name, FRAMES, codec, options, pixels=pixels, fps=25, pts=pts)
    assert count_frames(path) == 20
    for start, stop in ((0, 3), (5, 7), (6, 20), (19, 20)):
        found = list(read_frames(path, start, stop))
        assert len(found) == stop - start
        for index, image in enumerate(found, start=start):
            near = range(max(0, index - 2), min(20, index + 3))
            errors = [np.abs(image.astype(int) - FRAMES[n]).mean() for n in near]
            assert near[int(np.argmin(errors))] == index


def test_frames_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", FRAMES, "libx264")
    with pytest.raises(UserError, match="has 20 frames"):
        list(read_frames(path, 18, 21))
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(400) + whole[middle + 400 :])
    with pytest.raises(UserError, match="damaged at frame"):
        list(read_frames(path))
    with pytest.raises(UserError, match="not a file"):
        count_frames(tmp_path / "absent.mp4")
