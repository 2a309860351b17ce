from __future__ import annotations

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from src.data.street.canvas import Camera, Canvas, Plane, along, pyramid, upright
from src.data.street.layout import BICYCLIST, BUILDING, CAR, PEDESTRIAN, ROAD
from src.data.street.render import render_street

HEIGHT, WIDTH = 96, 128
CENTRE = (100.0, 80.0)


def film(seed: int, frames: int = 6, height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*render_street(seed, frames, height, width), strict=True)
    return np.stack(images), np.stack(labels)


@pytest.fixture(scope="module")
def second() -> tuple[np.ndarray, np.ndarray]:
    """One second of a film."""
    return film(1, 15)


def digest(seed: int) -> str:
    images, labels = film(seed, 3)
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


@pytest.mark.subprocess
def test_same_seed_is_the_same_film_in_another_process():
    code = "from tests.unit.data.street.test_street import digest; print(digest(5))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == digest(5)


def test_another_seed_is_another_street():
    assert (film(1, 1)[1] != film(2, 1)[1]).mean() > 0.05


def test_shapes_and_types_at_an_odd_size():
    images, labels = film(0, 2, 61, 83)
    assert images.shape == (2, 61, 83, 3)
    assert labels.shape == (2, 61, 83)
    assert images.dtype == labels.dtype == np.uint8
    assert labels.max() <= 10


def test_frames_are_rendered_on_demand():
    first = next(iter(render_street(0, 100, 24, 32)))
    assert first[0].shape == (24, 32, 3)


def test_every_class_is_there_and_thin_ones_are_thin():
    counts = np.zeros(11)
    for seed in range(6):
        counts += np.bincount(film(seed, 2)[1].ravel(), minlength=11)
    share = counts / counts.sum()
    assert (share > 0.002).all()
    assert (share[[2, 6, 9, 10]] < 0.05).all()


def test_film_moves_and_covers_and_uncovers(second):
    _, labels = second
    assert 0.01 < (labels[1:] != labels[:-1]).mean() < 0.15
    assert (labels[0] != labels[-1]).mean() > (labels[0] != labels[1]).mean()
    first, last = (np.isin(labels[i], (CAR, PEDESTRIAN, BICYCLIST)) for i in (0, -1))
    assert (first & ~last).any()
    assert (last & ~first).any()


def test_motion_compensation_predicts_the_next_frame(second):
    """Texture sticks to the scene: following optical flow beats copying, in images and in labels."""
    images, labels = second
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    error = np.zeros((2, 2))
    for i in range(3, len(images), 3):
        move = flow.calc(grey[i], grey[i - 3], None)
        image = cv2.remap(images[i - 3], x + move[..., 0], y + move[..., 1], cv2.INTER_LINEAR)
        label = cv2.remap(labels[i - 3], x + move[..., 0], y + move[..., 1], cv2.INTER_NEAREST)
        inside = np.s_[8:-8, 8:-8]
        for row, (picture, seen) in enumerate(((image, label), (images[i - 3], labels[i - 3]))):
            error[row, 0] += np.square(picture.astype(float) - images[i])[inside].mean()
            error[row, 1] += (seen != labels[i])[inside].mean()
    assert (error[0] < 0.7 * error[1]).all()


def test_point_straight_ahead_is_in_the_middle_and_right_is_right():
    camera = Camera(0.0, 1.4, 10.0, 0.0, 0.0, 200.0)
    points = np.array([[0.0, 1.4, 30.0], [1.0, 1.4, 30.0], [0.0, 0.4, 30.0]])
    assert np.allclose(camera.project(points, CENTRE), [[100, 80], [110, 80], [100, 90]])


def test_looking_right_moves_the_scene_left_and_looking_up_moves_it_down():
    point = np.array([[0.0, 1.4, 30.0]])
    right = Camera(0.0, 1.4, 0.0, 0.1, 0.0, 200.0).project(point, CENTRE)[0]
    up = Camera(0.0, 1.4, 0.0, 0.0, 0.1, 200.0).project(point, CENTRE)[0]
    assert right[0] < 100
    assert right[1] == pytest.approx(80)
    assert up[1] > 80


def red(height: int, width: int) -> np.ndarray:
    texture = np.zeros((height, width, 4), np.uint8)
    texture[...] = (200, 0, 0, 255)
    return texture


def test_a_plane_covers_its_projection_with_colour_and_label():
    canvas = Canvas(50, 60)
    camera = Camera(0.0, 1.0, 0.0, 0.0, 0.0, 100.0)
    canvas.draw(camera, [Plane(upright(0.0, 10.0, 4.0, 0.0, 2.0), pyramid(red(8, 16)), 7)])
    image, labels = canvas.frame()
    assert np.array_equal(labels == 7, image[..., 0] > 100)
    assert (labels == 7).sum() == pytest.approx(20 * 10, abs=20)  # 40 x 20 pixels of the canvas


def test_nearer_planes_hide_farther_ones_in_the_order_given():
    canvas = Canvas(50, 60)
    camera = Camera(0.0, 1.0, 0.0, 0.0, 0.0, 100.0)
    far, near = upright(0.0, 20.0, 8.0, 0.0, 2.0), upright(0.0, 10.0, 1.0, 0.0, 2.0)
    canvas.draw(camera, [Plane(far, pyramid(red(8, 8)), 1), Plane(near, pyramid(red(8, 8)), 2)])
    labels = canvas.frame()[1]
    row = labels[labels.shape[0] * 46 // 100]
    seen = [int(v) for v in row[row > 0]]
    assert sorted(set(seen)) == [1, 2]
    assert seen[len(seen) // 2] == 2


def test_cutting_a_wall_leaves_the_rest_in_its_place():
    texture = red(64, 64)
    texture[:, :32, 0] = 50
    camera = Camera(0.0, 1.4, 0.0, 0.0, 0.0, 100.0)
    whole, cut = Canvas(50, 60), Canvas(50, 60)
    whole.draw(camera, [Plane(along(3.0, 5.0, 15.0, 3.0), pyramid(texture), 1)])
    cut.draw(camera, [Plane(along(3.0, 7.5, 15.0, 3.0), pyramid(texture), 1, 0.25)])
    visible = cut.pixels[..., 3] == 1
    inner = cv2.erode(visible.astype(np.uint8), np.ones((3, 3))) > 0
    assert inner.any()
    difference = np.abs(whole.pixels[inner].astype(int) - cut.pixels[inner])
    assert difference.mean() < 1.0


def test_the_street_does_not_end_before_the_film():
    labels = film(3, 60, 48, 64)[1]
    assert all((frame == ROAD).mean() > 0.1 for frame in labels)
    assert all((frame == BUILDING).any() for frame in labels)
