from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from src.video.motion.field import MotionChain, chain, extend, identity, rasterise, warp
from src.video.types import Frame, MotionField


def blocks(height, width, seed, size=16, reach=6.0, dropped=0.2):
    """A grid of blocks in random order with quarter-pixel vectors, some missing, some reaching out."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height:size, 0:width:size]
    rows = np.stack([x.ravel(), y.ravel(), np.full(x.size, size), np.full(x.size, size)], 1).astype(np.float32)
    vectors = np.round(rng.uniform(-reach, reach, (len(rows), 2)) * 4) / 4
    rows = np.concatenate([rows, vectors.astype(np.float32)], 1)
    return rows[rng.permutation(len(rows))[int(dropped * len(rows)) :]]


def reference_chain(previous: MotionField, hop: MotionField) -> MotionField:
    """The definition, by scipy instead of our kernels."""
    height, width = hop.valid.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    at = np.stack([y + hop.field[1], x + hop.field[0]])
    field = hop.field + np.stack([map_coordinates(f, at, order=1, mode="nearest") for f in previous.field])
    inside = (at[0] >= 0) & (at[0] <= height - 1) & (at[1] >= 0) & (at[1] <= width - 1)
    invalid = map_coordinates((~previous.valid).astype(np.float64), at, order=1, mode="nearest") > 1e-6
    return MotionField(field.astype(np.float32), hop.valid & inside & ~invalid)


def frame(vectors, frame_type="P", size=(32, 48)):
    return Frame(np.zeros((*size, 3), np.uint8), frame_type, vectors, Fraction(0), 0)


def test_rasterise_puts_each_block_in_its_place_and_leaves_intra_invalid():
    motion = rasterise(np.float32([[8, 4, 16, 8, -1.25, 2]]), 24, 40)
    inside = np.zeros((24, 40), bool)
    inside[4:12, 8:24] = True
    assert np.array_equal(motion.valid, inside)
    assert np.all(motion.field[:, inside] == np.float32([[-1.25], [2]]))
    assert np.all(motion.field[:, ~inside] == 0)


def test_blocks_are_clipped_to_the_picture_and_sources_outside_are_invalid():
    motion = rasterise(np.float32([[-8, 0, 16, 16, 0, 0], [32, 16, 16, 16, 4, 0]]), 20, 40)
    assert motion.valid[:16, :8].all()
    assert motion.valid[16:, 32:36].all()
    assert not motion.valid[16:, 36:].any()  # 4 pixels to the right of these is outside
    assert motion.valid.sum() == 16 * 8 + 4 * 4


@pytest.mark.parametrize("size", [(48, 64), (37, 51), (5, 3)])
def test_chain_is_its_definition(size):
    previous = rasterise(blocks(*size, seed=1), *size)
    hop = rasterise(blocks(*size, seed=2), *size)
    for _ in range(3):
        expected = reference_chain(previous, hop)
        previous = chain(previous, hop)
        assert np.allclose(previous.field, expected.field, atol=1e-4)
        assert np.array_equal(previous.valid, expected.valid)


@pytest.mark.parametrize("size", [(48, 64), (37, 51), (5, 3)])
def test_extend_is_rasterise_then_chain(size):
    to_key = identity(*size)
    for seed in range(5):
        vectors = blocks(*size, seed=seed)
        expected = chain(to_key, rasterise(vectors, *size))
        to_key = extend(to_key, vectors)
        assert np.allclose(to_key.field, expected.field, atol=1e-5)
        assert np.array_equal(to_key.valid, expected.valid)


HUGE = [np.nan, np.inf, -np.inf, 1e10, -1e30, 3e38]


@pytest.mark.parametrize("column", range(6))
def test_blocks_of_no_or_huge_numbers_are_intra(column):
    size = (37, 51)
    rng = np.random.default_rng(column)
    for value in HUGE:
        good = blocks(*size, seed=column)
        bad = good.copy()
        hit = rng.random(len(bad)) < 0.5
        bad[hit, column] = value
        to_key = extend(identity(*size), blocks(*size, seed=9))
        expected, found = extend(to_key, good[~hit]), extend(to_key, bad)
        assert np.array_equal(found.field, expected.field)
        assert np.array_equal(found.valid, expected.valid)


def test_a_hop_of_no_or_huge_numbers_is_invalid_and_stays_inside_the_memory():
    size = (37, 51)
    hop = identity(*size)
    hop.field.reshape(-1)[: len(HUGE)] = HUGE
    found = chain(identity(*size), hop)
    assert not found.valid.reshape(-1)[: len(HUGE)].any()
    assert found.valid.reshape(-1)[len(HUGE) :].all()


def test_intra_blocks_continue_from_the_same_place_but_invalid_ever_after():
    size = (32, 48)
    everywhere = np.float32([[0, 0, 48, 32, 2, 0]])
    all_but_a_block = np.float32([[0, 0, 48, 16, 2, 0], [16, 16, 32, 16, 2, 0]])
    first = extend(identity(*size), everywhere)
    second = extend(first, all_but_a_block)
    assert np.all(second.field[0, 16:, :16] == 2)
    assert not second.valid[16:, :16].any()
    assert second.valid[:16, :44].all()
    third = extend(second, np.float32([[0, 0, 48, 32, -16, 0]]))
    assert not third.valid[16:, 16:32].any()
    assert third.valid[16:, 32:48].all()


def test_a_zoom_chains_to_its_closed_form():
    height, width, rate, hops = 60, 80, 1.03, 6
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = np.float32([(width - 1) / 2, (height - 1) / 2])[:, None, None]
    place = np.stack([x, y]) - centre
    hop = MotionField(place * (1 / rate - 1), np.ones((height, width), bool))
    motion = identity(height, width)
    for _ in range(hops):
        motion = chain(motion, hop)
    assert np.allclose(motion.field, place * (rate**-hops - 1), atol=1e-3)
    assert motion.valid.all()


def test_warp_follows_the_sign_convention_and_replicates_borders():
    image = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
    moved = warp(image, rasterise(np.float32([[0, 0, 32, 24, 3, -2]]), 24, 32))
    assert np.array_equal(moved[2:, :-3], image[:-2, 3:])
    assert np.array_equal(moved[:2, :-3], np.stack([image[0, 3:]] * 2))
    assert np.array_equal(warp(image, identity(24, 32)), image)


def test_warped_labels_are_labels():
    labels = np.random.default_rng(0).choice(np.uint8([0, 7, 255]), (24, 32))
    moved = warp(labels, rasterise(np.float32([[0, 0, 32, 24, 0.75, -1.5]]), 24, 32), nearest=True)
    assert moved.shape == labels.shape
    assert set(np.unique(moved)) <= {0, 7, 255}
    assert np.array_equal(moved[4, 4:20], labels[4 - 2, 5:21])  # .75 rounds to 1, -1.5 to the even -2


def test_motion_chain_starts_over_at_i_frames_and_after_reset():
    step = np.float32([[0, 0, 48, 32, 1, 0]])
    follow = MotionChain()
    fields = [follow.update(frame(v, t)).field[0, 0, 0] for v, t in [(None, "I"), (step, "P"), (step, "P")]]
    assert fields == [0, 1, 2]
    assert follow.update(frame(None, "I")).field[0, 0, 0] == 0
    assert follow.update(frame(step)).field[0, 0, 0] == 1
    follow.reset()
    assert follow.update(frame(step)).field[0, 0, 0] == 0
    lost = follow.update(frame(None))
    assert not lost.valid.any()
