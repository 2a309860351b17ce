from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from src.inference.keyframes import KeyedMotion
from src.video.types import Frame

HEIGHT, WIDTH = 16, 24
STILL = np.array([[0, 0, WIDTH, HEIGHT, 0, 0]], np.float32)
RIGHT = np.array([[0, 0, WIDTH, HEIGHT, 2, 0]], np.float32)
INTRA = np.zeros((0, 6), np.float32)


def frame(index, frame_type="P", vectors=STILL, damaged=False):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Frame(image, frame_type, vectors, Fraction(index, 25), index, damaged)


def keyframes(frames, max_gop):
    keyed = KeyedMotion(max_gop)
    return [f.index for f in frames if keyed.update(f) is None]


def test_first_frame_is_a_keyframe_whatever_its_type():
    assert keyframes([frame(i) for i in range(3)], 10) == [0]


def test_long_gop_gets_a_keyframe_every_max_gop_frames():
    assert keyframes([frame(i) for i in range(11)], 4) == [0, 4, 8]


def test_max_gop_one_makes_every_frame_a_keyframe():
    assert keyframes([frame(i) for i in range(4)], 1) == [0, 1, 2, 3]


def test_count_starts_again_at_an_i_frame():
    frames = [frame(i, "I" if i == 3 else "P") for i in range(9)]
    assert keyframes(frames, 4) == [0, 3, 7]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(frame(2, damaged=True), id="damaged"),
        pytest.param(frame(2, vectors=None), id="no vectors"),
        pytest.param(frame(2, vectors=INTRA), id="scene cut without I frame"),
    ],
)
def test_broken_chain_makes_a_keyframe(broken):
    assert keyframes([frame(0), frame(1), broken, frame(3)], 10) == [0, 2]


def test_motion_adds_up_since_the_latest_keyframe_only():
    keyed = KeyedMotion(3)
    found = [keyed.update(frame(i, vectors=RIGHT)) for i in range(6)]
    assert [m is None for m in found] == [True, False, False, True, False, False]
    assert [float(found[i].field[0, 4, 4]) for i in (1, 2, 4, 5)] == [2, 4, 2, 4]


def test_films_of_i_frames_alone_are_keyed_by_max_gop():
    keyed = KeyedMotion(3, all_intra=True)
    assert [keyed.update(frame(i, "I")) is None for i in range(5)] == [True, False, False, True, False]
