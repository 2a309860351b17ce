from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from src.errors import UserError
from src.video.motion.field import MotionChain
from src.video.reading.decode import Video
from src.video.reading.gop import read_gop, read_keyed
from src.video.types import CodecSettings
from src.video.writing.encode import encode
from tests.support.videos import pan, write

COUNT, GOP = 17, 6


@pytest.fixture(scope="module", params=["h264.mp4", "h264.mkv", "mpeg4.mp4"])
def film(request, tmp_path_factory):
    codec = request.param.partition(".")[0]
    path = tmp_path_factory.mktemp("gop") / request.param
    quality = {"crf": 20} if codec == "h264" else {"bitrate": 1500}
    encode(pan(COUNT, 65, 97, (1.5, -0.5)), path, CodecSettings(codec, GOP, Fraction(30000, 1001), **quality))
    return path


@pytest.mark.parametrize(("key", "last"), [(0, 0), (0, 5), (6, 11), (12, 16), (12, 14), (6, 14)])
def test_read_gop_gives_the_frames_of_the_film(film, key, last):
    expected = [frame for frame in Video(film) if key <= frame.index <= last]
    for got, want in zip(read_gop(film, key, last), expected, strict=True):
        assert (got.index, got.frame_type) == (want.index, want.frame_type)
        assert np.array_equal(got.image, want.image)
        assert (got.vectors is None) == (want.vectors is None)
        assert got.vectors is None or np.array_equal(got.vectors, want.vectors)


@pytest.mark.parametrize(("key", "index"), [(0, 0), (0, 5), (6, 9), (12, 16), (0, 8)])
def test_read_keyed_is_the_chain_of_the_film(film, key, index):
    follow, key_image = MotionChain(), None
    for frame in Video(film):
        motion = follow.update(frame)
        key_image = frame.image if frame.frame_type == "I" else key_image
        if frame.index == index:
            break
    keyed = read_keyed(film, key, index)
    assert np.array_equal(keyed.key, key_image)
    assert np.array_equal(keyed.image, frame.image)
    assert np.array_equal(keyed.motion.field, motion.field)
    assert np.array_equal(keyed.motion.valid, motion.valid)


@pytest.mark.parametrize(("key", "last"), [(3, 5), (12, 17), (60, 61)])
def test_frames_that_are_not_there_are_refused(film, key, last):
    with pytest.raises(UserError, match=r"no intact frame \d+ after an I frame"):
        read_gop(film, key, last)


def test_films_without_exact_vectors_are_refused(tmp_path):
    path = write(tmp_path / "film.mp4", pan(9, 64, 96, (1, 0)), "libx264")
    with pytest.raises(UserError, match="no exact motion vectors"):
        read_gop(path, 0, 3)
