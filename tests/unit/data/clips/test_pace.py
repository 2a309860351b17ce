"""Videos whose pace changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from src.data.clips.pace import PacedVideo
from src.data.clips.recipes import ClipsFromVideos
from src.data.street.dataset import Street
from src.errors import UserError


@pytest.fixture(scope="module")
def source() -> Street:
    return Street({"val": 1}, length=11, height=48, width=64, fps=15)


def test_frames_are_those_of_the_steps(source: Street) -> None:
    (video,) = source.videos("val")
    paced = PacedVideo(video, [[2, 1], [3, 0], [2, 3]])
    assert paced.order == [0, 1, 2, 2, 2, 2, 5, 8, 9, 10, 10, 10, 10][: len(paced)]
    whole = list(video.frames())
    for start, stop in ((0, len(paced)), (3, 7), (5, 6)):
        found = list(paced.frames(start, stop))
        assert len(found) == stop - start
        for index, (image, labels) in zip(paced.order[start:stop], found, strict=True):
            assert np.array_equal(image, whole[index][0])
            assert labels is not None
            assert np.array_equal(labels, whole[index][1])
    assert list(paced.frames(4, 4)) == []
    assert paced.labelled_frames() == tuple(range(len(paced)))
    assert np.array_equal(paced.read_labels(4), whole[2][1])


def test_the_pace_makes_other_clips(source: Street) -> None:
    own = ClipsFromVideos(1).jobs(source, "val", 4)[0]
    paced = ClipsFromVideos(1, pace=[[4, 1], [4, 0]]).jobs(source, "val", 4)[0]
    assert len(paced) > len(own)
    assert paced.fingerprint() != own.fingerprint()
    assert paced.name != own.name


@pytest.mark.parametrize("pace", [[], [[3]], [[3, -1]], [[0, 1]], [[2, 0]], [[1.5, 1]], [["a", 1]], [3, 1], 3, "fast"])
def test_a_pace_that_is_none_is_rejected(source: Street, pace: Any) -> None:
    with pytest.raises(UserError, match=r"^data\.module\.clips\.pace=.* is out of range; give whole numbers"):
        PacedVideo(next(iter(source.videos("val"))), pace)
