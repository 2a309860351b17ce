"""Augmentation must leave picture, labels and motion consistent."""

from typing import Any

import numpy as np
import pytest

from src.data.batch import Sample
from src.data.transforms import ColourJitter, FitSize, TrainTransform, crop_and_scale, mirror, rotate
from src.errors import UserError
from src.video.motion.field import MotionField, warp


def panned_pair(dx: float = 6.0, dy: float = -4.0, height: int = 96, width: int = 128) -> Sample:
    """A smooth picture and its shifted successor, labels that follow the picture, and the true motion."""
    y, x = np.mgrid[:height, :width].astype(np.float32)

    def picture(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        waves = [np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(3)]
        return np.stack([(127 + 100 * w).astype(np.uint8) for w in waves], -1)

    field = np.stack([np.full_like(x, dx), np.full_like(y, dy)])
    current = picture(x + dx, y + dy)
    labels = (current[..., 0] > 127).astype(np.uint8)
    valid = (x + dx >= 0) & (x + dx <= width - 1) & (y + dy >= 0) & (y + dy <= height - 1)
    return Sample(np.stack([picture(x, y), current]), labels, field, valid, 1, "pan")


def warp_error(sample: Sample) -> float:
    moved = warp(sample.frames[0], MotionField(sample.motion, sample.motion_valid)).astype(float)
    return float(np.abs(moved - sample.frames[1])[sample.motion_valid].mean())


@pytest.mark.parametrize("scale", [(0.5, 0.5001), (1.0, 1.0001), (2.0, 2.0001), (0.6, 1.9)])
def test_motion_fits_the_augmented_pictures(scale: tuple[float, float]) -> None:
    transform = TrainTransform((64, 80), scale, 0.5, None)
    for seed in range(6):
        augmented = transform(panned_pair(), np.random.default_rng(seed))
        assert augmented.frames.shape == (2, 64, 80, 3)
        assert augmented.motion_valid.mean() > 0.2
        assert warp_error(augmented) < 3.0
        wrong = Sample(**{**vars(augmented), "motion": np.zeros_like(augmented.motion)})
        assert warp_error(wrong) > 2 * warp_error(augmented)


def test_mirror_twice_is_identity() -> None:
    sample = panned_pair()
    again = mirror(mirror(sample))
    for name in ("frames", "labels", "motion", "motion_valid"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sample, name))


def test_labels_follow_the_picture() -> None:
    augmented = TrainTransform((64, 80), (0.7, 1.5), 0.5, None)(panned_pair(), np.random.default_rng(3))
    known = augmented.labels != 255
    assert ((augmented.frames[1][..., 0] > 127) == augmented.labels)[known].mean() > 0.95


@pytest.mark.parametrize("angle", [5.0, -5.0, 40.0])
def test_motion_and_labels_turn_with_the_pictures(angle: float) -> None:
    sample = panned_pair()
    turned = rotate(sample, angle)
    assert warp_error(turned) < 3.0
    for name in ("motion", "labels"):
        wrong = Sample(**{**vars(turned), name: getattr(sample, name)})
        assert warp_error(wrong) > 2 * warp_error(turned) or name == "labels"
    known = turned.labels != 255
    assert ((turned.frames[1][..., 0] > 127) == turned.labels)[known].mean() > 0.95
    assert not known[0, 0]
    assert not turned.motion_valid[0, 0]
    up = rotate(Sample(**{**vars(sample), "motion": np.stack([sample.motion[0] * 0 + 1, sample.motion[1] * 0])}), 90)
    np.testing.assert_allclose(up.motion[:, 48, 64], [0, -1], atol=1e-6)  # to the right becomes upwards


def test_rotation_is_drawn_to_both_sides_only_where_it_is_asked_for() -> None:
    sample = panned_pair()
    plain = TrainTransform((96, 128), (1.0, 1.0), 0.0, None)
    np.testing.assert_array_equal(plain(sample, np.random.default_rng(0)).labels, sample.labels)
    turning = TrainTransform((96, 128), (1.0, 1.0), 0.0, None, rotation=5.0)
    drawn = [turning(sample, np.random.default_rng(seed)).motion[1, 48, 64] + 4 for seed in range(20)]
    assert min(drawn) < -0.1
    assert max(drawn) > 0.1
    limit = 6 * np.sin(np.radians(5)) + 4 * (1 - np.cos(np.radians(5)))
    assert max(map(abs, drawn)) <= limit + 1e-4


def test_crops_of_one_class_are_drawn_again() -> None:
    sample = panned_pair()
    sample.labels[:] = 0
    sample.labels[:, 60:70] = 1
    sample.labels[:30] = 255

    def shares(class_share: float) -> list[float]:
        transform = TrainTransform((32, 20), (1.0, 1.0), 0.0, None, class_share=class_share)
        found = [transform(sample, np.random.default_rng(seed)).labels for seed in range(60)]
        return [float(np.bincount(labels[labels < 255], minlength=2).max() / (labels < 255).sum()) for labels in found]

    assert sum(share > 0.75 for share in shares(1.0)) > 30
    assert sum(share > 0.75 for share in shares(0.75)) < 15  # the eleventh place is taken as it is


def test_outside_of_the_picture_is_ignored_and_invalid() -> None:
    sample = crop_and_scale(panned_pair(), (-20, -30, 136, 188), (136, 188))
    assert (sample.labels[:20] == 255).all()
    assert not sample.motion_valid[:20].any()
    assert (sample.labels[20:116, 30:158] != 255).all()


def test_vectors_that_leave_the_crop_are_invalid() -> None:
    sample = crop_and_scale(panned_pair(dx=6.0), (0, 0, 96, 64), (96, 64))
    assert not sample.motion_valid[:, -6:].any()


def test_colour_jitter_is_one_draw_for_all_frames_and_follows_the_seed() -> None:
    jitter = ColourJitter(0.5, 0.5, 0.5, 0.05, blur=0.5, compression=0.5)
    frame = panned_pair().frames[:1]
    frames = np.concatenate([frame, frame, frame])
    first = jitter(frames, np.random.default_rng(1))
    assert (first[0] == first[2]).all()
    np.testing.assert_array_equal(first, jitter(frames, np.random.default_rng(1)))
    assert (first != jitter(frames, np.random.default_rng(2))).any()


@pytest.mark.parametrize("sides", [[2.5, 224], [224, 0], [-1, 8], [True, None], ["a", 3]])
def test_sizes_are_whole_pixels(sides: list[Any]) -> None:
    with pytest.raises(UserError, match=r"data\.fit=.* whole pixels above 0"):
        FitSize(*sides)
    with pytest.raises(UserError, match=r"data\.crop=.* whole pixels above 0"):
        TrainTransform(sides, [1.0], 0.5, None)
