from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.still_animation.layers import IGNORE, SceneRoles, split_layers
from src.data.still_animation.motion import SceneMotion, draw_camera_path
from src.data.still_animation.render import animate_image

CLEAN = SceneMotion(exposure=0.0, noise=0.0, blur=0.0)
COLOURS = np.zeros((256, 3), np.uint8)
COLOURS[:11] = np.stack(np.meshgrid([0, 127, 255], [0, 255], [0, 255], indexing="ij"), -1).reshape(-1, 3)[:11]
COLOURS[IGNORE] = 64


def street_labels(height: int = 120, width: int = 160) -> np.ndarray:
    """Sky, two rows of buildings, road, pavement, a pole, a car, a pedestrian."""
    labels = np.zeros((height, width), np.uint8)
    middle = height // 2
    labels[middle:] = 3
    cv2.fillPoly(labels, [np.array([[0, height // 8], [50, middle - 4], [50, middle], [0, height - 30]])], 1)
    cv2.fillPoly(labels, [np.array([[width, 10], [110, middle - 4], [110, middle], [width, height - 30]])], 1)
    cv2.fillPoly(labels, [np.array([[0, height - 30], [50, middle], [56, middle], [30, height], [0, height]])], 4)
    labels[20:95, 35:38] = 2
    labels[55:80, 66:90] = 8
    labels[50:84, 120:128] = 9
    return labels


def textured(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.normal(0, 60, (*labels.shape, 3)), (0, 0), 1.5)
    return np.clip(90 + 12 * labels[..., None] + grain, 0, 255).astype(np.uint8)


def clip(seed: int, motion: SceneMotion = CLEAN, length: int = 8) -> tuple[np.ndarray, np.ndarray]:
    labels = street_labels()
    return animate_image(textured(labels), labels, length, np.random.default_rng(seed), motion)


def test_same_seed_same_film_and_other_seed_other_film():
    first, again, other = clip(3), clip(3), clip(4)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(4))
def test_last_frame_is_the_still(seed):
    labels = street_labels()
    image = textured(labels)
    frames, frame_labels = animate_image(image, labels, 5, np.random.default_rng(seed))
    assert frames.shape == (5, *image.shape)
    assert np.array_equal(frames[-1], image)
    assert np.array_equal(frame_labels[-1], labels)
    assert set(np.unique(frame_labels)) <= {*np.unique(labels).tolist(), IGNORE}


@pytest.mark.parametrize("after", [3, 7])
@pytest.mark.parametrize("seed", range(6))
def test_frames_after_the_still_continue_its_drive(seed, after):
    labels = street_labels()
    frames, frame_labels = animate_image(COLOURS[labels], labels, 8, np.random.default_rng(seed), CLEAN, after=after)
    assert np.array_equal(frames[7 - after], COLOURS[labels])
    for frame, seen in zip(frames, frame_labels, strict=True):
        shown = np.abs(frame[..., None, :].astype(int) - COLOURS[:11]).sum(-1).argmin(-1)
        inside = cv2.erode((seen != IGNORE).astype(np.uint8), np.ones((3, 3))) > 0
        assert (shown == seen)[inside].mean() > 0.97  # blended edges are enlarged, too
    path, later = (draw_camera_path(CLEAN, 8, 160, np.random.default_rng(seed), n) for n in (0, after))
    assert np.allclose(path.back[: 8 - after], later.back[after:]), "before the still as without frames after it"
    assert (np.diff(later.back) >= 0).all()


def test_driving_forward_enlarges_the_scene_which_the_still_shows_all_of():
    drive = replace(CLEAN, standing=0.0, speed=(0.3, 0.3), acceleration=0.0, moving=0.0, yaw=0.0, pitch=0.0, roll=0.0)
    drive = replace(drive, drift=0.0)
    labels = street_labels()
    _, seen = animate_image(textured(labels), labels, 6, np.random.default_rng(0), drive, after=5)
    assert max((frame == IGNORE).mean() for frame in seen) < 0.002
    cars = [(frame == 8).sum() for frame in seen]
    assert all(np.diff(cars) > 0)
    focal = drive.focal * labels.shape[1]
    horizon = split_layers(textured(labels), labels, focal, SceneRoles()).horizon
    foot = 80 - horizon
    expected = horizon + foot / (1.0 - 5 * 0.3 * foot / focal)
    assert np.flatnonzero((seen[5] == 8).any(axis=1)).max() + 1 == pytest.approx(expected, abs=1.0)


def test_a_clip_of_one_frame_is_the_still():
    frames, labels = clip(0, length=1)
    assert frames.shape[0] == labels.shape[0] == 1
    assert np.array_equal(labels[0], street_labels())


def test_layers_put_together_without_motion_are_the_still():
    labels = street_labels()
    labels[:, -3:] = IGNORE
    image = textured(labels)
    still = replace(CLEAN, standing=1.0, pitch=0.0, roll=0.0, moving=0.0)
    frames, frame_labels = animate_image(image, labels, 3, np.random.default_rng(0), still)
    assert np.array_equal(frame_labels[0], labels)
    assert np.abs(frames[0].astype(int) - image).max() <= 1  # the blend rounds


@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_move_together(seed):
    labels = street_labels()
    frames, frame_labels = animate_image(COLOURS[labels], labels, 8, np.random.default_rng(seed), CLEAN)
    for frame, seen in zip(frames, frame_labels, strict=True):
        shown = np.abs(frame[..., None, :].astype(int) - COLOURS[:11]).sum(-1).argmin(-1)
        inside = cv2.erode((seen != IGNORE).astype(np.uint8), np.ones((3, 3))) > 0
        assert inside.mean() > 0.2
        assert (shown == seen)[inside].mean() > 0.98


def test_driving_backward_shrinks_the_scene_and_leaves_borders_unknown():
    drive = replace(CLEAN, standing=0.0, speed=(0.3, 0.3), moving=0.0, yaw=0.0, pitch=0.0, roll=0.0, drift=0.0)
    _, labels = clip(0, drive)
    cars = [(frame == 8).sum() for frame in labels]
    unknown = [(frame == IGNORE).mean() for frame in labels]
    assert all(np.diff(cars) >= 0)
    assert cars[0] < 0.9 * cars[-1]
    assert all(np.diff(unknown) <= 0)
    assert unknown[0] > 0.1


def test_ground_and_object_on_it_follow_the_same_perspective():
    drive = replace(CLEAN, standing=0.0, speed=(0.3, 0.3), acceleration=0.0, moving=0.0, yaw=0.0, pitch=0.0)
    drive = replace(drive, roll=0.0, drift=0.0)
    labels = street_labels()
    _, frame_labels = animate_image(textured(labels), labels, 6, np.random.default_rng(0), drive)
    focal = drive.focal * labels.shape[1]
    horizon = split_layers(textured(labels), labels, focal, SceneRoles()).horizon
    foot = 80 - horizon  # the car's last row is 79
    expected = horizon + foot / (1.0 + 5 * 0.3 * foot / focal)
    assert np.flatnonzero((frame_labels[0] == 8).any(axis=1)).max() + 1 == pytest.approx(expected, abs=1.0)


def test_objects_move_on_their_own_and_uncover_what_was_behind():
    parked = replace(CLEAN, standing=1.0, pitch=0.0, roll=0.0, moving=1.0, object_speed=(0.0, 0.05))
    _, labels = clip(1, parked)
    was_object, is_object = np.isin(labels[0], (8, 9)), np.isin(labels[-1], (8, 9))
    assert (was_object & ~is_object).sum() > 20
    assert (is_object & ~was_object).sum() > 20
    static = ~was_object & ~is_object
    assert np.array_equal(labels[0][static], labels[-1][static])


def test_motion_varies_from_standing_to_tens_of_pixels():
    rng = np.random.default_rng(0)
    paths = [draw_camera_path(SceneMotion(), 12, 480, rng) for _ in range(200)]
    travel = np.array([p.back[-1] for p in paths])
    # Displacement of the ground in the last row of a 480x360 still over 11 frames, horizon in the middle.
    row = 180 - 180 / (1 + travel * 180 / (0.9 * 480))
    assert (travel == 0).any()
    assert 60 < np.median(row) < 120
    for path in paths:
        assert path.back[0] == path.side[0] == path.roll[0] == 0
        assert (np.diff(path.back) >= 0).all()


def test_classes_may_have_other_roles():
    labels = np.full((60, 80), 5, np.uint8)
    labels[30:] = 0
    labels[20:40, 30:40] = 7
    roles = SceneRoles(sky=(), ground=(0,), thin=(), moving=(7,))
    layers = split_layers(textured(labels), labels, 72.0, roles)
    assert [o.moves for o in layers.objects] == [True]
    assert not (layers.standing.labels == 7).any()


@pytest.mark.parametrize("value", [0, 3, 8, IGNORE])
def test_a_still_of_one_class_is_rendered(value):
    labels = np.full((48, 64), value, np.uint8)
    frames, frame_labels = animate_image(textured(labels % 11), labels, 3, np.random.default_rng(0))
    assert set(np.unique(frame_labels)) <= {value, IGNORE}
    assert frames.shape == (3, 48, 64, 3)


def test_camvid_stills_give_the_label_change_of_real_driving():
    root = os.environ.get("CAMVID_ROOT")
    if root is None:
        pytest.skip("CAMVID_ROOT is not set")
    stills = sorted((Path(root) / "train").glob("*.png"))[::30]
    change = []
    for number, path in enumerate(stills):
        labels = cv2.imread(str(Path(root) / "trainannot" / path.name), cv2.IMREAD_GRAYSCALE)
        labels[labels > 10] = IGNORE
        image = cv2.imread(str(path))[..., ::-1].copy()
        _, seen = animate_image(image, labels, 4, np.random.default_rng(number))
        known = (seen[0] != IGNORE) & (labels != IGNORE)
        change.append((seen[0] != labels)[known].mean())
    assert 0.05 < np.mean(change) < 0.2  # three frames apart in the val sequence: 0.102
