"""Render short synthetic videos of which one frame is a labelled image.

Training on keyframe and distant frame needs video; data sets such as CamVid's training part label single
images. Each other frame is rendered directly from the image, its labels by the same maps, so that image and
labels stay aligned and no blur accumulates.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.images import ImageArray
from src.data.labels import IGNORE
from src.data.still_animation.layers import (
    Layer,
    SceneLayers,
    SceneObject,
    SceneRoles,
    as_image,
    split_layers,
)
from src.data.still_animation.motion import CameraPath, SceneMotion, draw_camera_path, draw_object_velocity

FORMAT = 1  # raise when the same seed gives other frames or labels; prepared clips are made again then

CLOSEST = 0.05  # of its depth in the image, up to which a column is drawn where the camera approaches it
PASSED = 0.2  # of its depth in the image, from which on an object that the camera approaches is out of sight

Map = NDArray[np.float32]


def animate_image(
    image: ImageArray,
    labels: ImageArray,
    length: int,
    rng: np.random.Generator,
    motion: SceneMotion | None = None,
    roles: SceneRoles | None = None,
    after: int = 0,
) -> tuple[ImageArray, ImageArray]:
    """Render a video of `length` frames of which one is the image itself, by default the last.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, 255 = ignore.
        length: frames, at least 1.
        rng: decides everything that is random.
        motion: distribution of the motion; None: the defaults.
        roles: which classes are sky, ground, thin and moving; None: those of CamVid.
        after: frames that follow the image, below `length`.

    Returns:
        frames (length, H, W, 3) uint8 and labels (length, H, W) uint8. Places the image does not show are
        filled by reflection in the image and 255 in the labels.
    """
    motion, roles = motion or SceneMotion(), roles or SceneRoles()
    height, width = labels.shape
    path = draw_camera_path(motion, length, width, rng, after)
    layers = split_layers(image, labels, motion.focal * width, roles)
    velocities = [draw_object_velocity(motion, rng) if o.moves else (0.0, 0.0) for o in layers.objects]
    frames = np.empty((length, height, width, 3), np.uint8)
    frame_labels = np.empty((length, height, width), np.uint8)
    for number in range(length):
        if number == after:
            continue
        view = _View(layers, path, number, motion.focal * width, (height, width))
        view.draw_scene()
        for thing, velocity in zip(layers.objects, velocities, strict=True):
            view.draw_object(thing, velocity)
        frames[length - 1 - number], frame_labels[length - 1 - number] = view.image, view.labels
    place = length - 1 - after
    _disturb(frames, place, motion, rng)
    frames[place], frame_labels[place] = image, labels
    return frames, frame_labels


class _View:
    """The scene as seen from the place `number` of a path: x, y below are relative to the vanishing point."""

    def __init__(self, layers: SceneLayers, path: CameraPath, number: int, focal: float, size: tuple[int, int]) -> None:
        self.layers, self.back, self.focal = layers, int(path.steps[number]), focal
        self.travel, self.side = float(path.back[number]), float(path.side[number])
        self.height, self.width = size
        self.shift, self.roll = path.shift[number], np.float32(path.roll[number])
        self.centre = np.array([self.width / 2.0, layers.horizon], np.float32)
        self.image = np.empty((self.height, self.width, 3), np.uint8)
        self.labels = np.empty((self.height, self.width), np.uint8)

    def draw_scene(self) -> None:
        """Sky and ground, then the standing scene over them."""
        columns = np.arange(self.width, dtype=np.float32)
        rows = np.arange(self.height, dtype=np.float32)[:, None]
        x = columns - (self.centre[0] + self.shift[0])
        # Rolling by a degree at most is a shear to within a pixel, and leaves the columns upright.
        y = rows - (self.centre[1] + self.shift[1]) + self.roll * x
        self.image, self.labels, _ = self._sample(self.layers.background, *self._background_map(x, y))
        front, labels, cover = self._sample(self.layers.standing, *self._standing_map(x, y))
        _blend(self.image, self.labels, front, labels, cover)

    def draw_object(self, thing: SceneObject, velocity: tuple[float, float]) -> None:
        """One object that faces the camera, with its own `velocity` (along, across)."""
        depth = 1.0 / thing.nearness
        before = depth + self.travel - velocity[0] * self.back
        if self.back > 0:
            before = max(before, 0.4 * depth)
        elif before < PASSED * depth:
            return
        zoom = depth / before
        offset = self.focal * (-velocity[1] * self.back - self.side) / before
        left, top = thing.origin - self.centre
        forward = np.array([[zoom, 0.0, zoom * left + offset], [0.0, zoom, zoom * top]])
        forward[1] -= self.roll * forward[0]
        forward[:, 2] += self.centre + self.shift
        box = _box(forward, thing.labels.shape, self.labels.shape)
        if box is None:
            return
        x0, y0, x1, y1 = box
        forward[:, 2] -= (x0, y0)
        size = (x1 - x0, y1 - y0)
        front = as_image(cv2.warpAffine(thing.pixels, forward, size, flags=cv2.INTER_LINEAR))
        labels = as_image(cv2.warpAffine(thing.labels, forward, size, flags=cv2.INTER_NEAREST, borderValue=(IGNORE,)))
        area = np.s_[y0:y1, x0:x1]
        _blend(self.image[area], self.labels[area], _colours(front), labels, front[..., 3])

    def _background_map(self, x: Map, y: Map) -> tuple[Map, Map]:
        """Ground at depth Z was at Z + travel: y = y' / (1 - travel * y' / focal); the sky stays."""
        floor = self.height - self.layers.horizon
        ratio = 1.0 + self.travel * floor / self.focal
        edge = np.float32(floor / ratio if ratio > CLOSEST else floor / CLOSEST)  # where the image's last row was
        ground = np.clip(y, np.float32(0.0), edge)
        zoom = 1.0 / (1.0 - np.float32(self.travel / self.focal) * ground)
        ground_source = ground * zoom
        # Below `edge` the image shows nothing: its mirror image, at the scale of the last row.
        return x * zoom + np.float32(self.side) * ground_source, ground_source + (y - ground)

    def _standing_map(self, x: Map, y: Map) -> tuple[Map, Map]:
        """Per column of the image its place in this frame, inverted on a table."""
        wide = np.pad(self.layers.nearness, self.width, mode="edge")
        source = np.arange(-self.width, 2 * self.width) - float(self.centre[0])
        seen = (source - self.focal * self.side * wide) / np.maximum(1.0 + self.travel * wide, CLOSEST)
        middle = len(seen) // 2
        if self.travel >= 0:  # nearer columns move towards the middle and hide farther ones
            seen[:middle] = np.maximum.accumulate(seen[:middle])
            seen[middle:] = np.minimum.accumulate(seen[: middle - 1 : -1])[::-1]
        else:  # towards the sides
            seen[:middle] = np.minimum.accumulate(seen[:middle][::-1])[::-1]
            seen[middle:] = np.maximum.accumulate(seen[middle:])
        seen = np.maximum.accumulate(seen) + 1e-6 * np.arange(len(seen))  # np.interp wants it to increase
        place = np.interp(x, seen, source).astype(np.float32)
        near = np.interp(place, source, wide).astype(np.float32)
        scale = np.maximum(1.0 + np.float32(self.travel) * near, np.float32(CLOSEST))
        return np.broadcast_to(place, y.shape), y * scale

    def _sample(self, layer: Layer, x: Map, y: Map) -> tuple[ImageArray, ImageArray, ImageArray]:
        left, top = (self.centre - layer.origin).astype(np.float32)
        x, y = x + left, y + top
        pixels = as_image(cv2.remap(layer.pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        labels = as_image(cv2.remap(layer.labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))
        return _colours(pixels), labels, pixels[..., 3]


def _box(
    forward: NDArray[np.float64], shape: tuple[int, ...], limits: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """Part (x0, y0, x1, y1) of the frame that a cut-out of `shape` covers, None if it is out of sight."""
    h, w = shape
    corners = forward @ np.array([[0, w, 0, w], [0, 0, h, h], [1, 1, 1, 1]])
    low = np.maximum(np.floor(corners.min(axis=1)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=1)) + 1, limits[::-1]).astype(int)
    return None if (high <= low).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _colours(pixels: ImageArray) -> ImageArray:
    return as_image(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB))


def _blend(
    image: ImageArray, labels: ImageArray, front: ImageArray, front_labels: ImageArray, cover: ImageArray
) -> None:
    """Draws `front` where `cover` (0..255) says so; a label belongs to whoever covers half of the pixel."""
    weight = cover.astype(np.float32) * np.float32(1.0 / 255.0)
    image[...] = cv2.blendLinear(front, image, weight, 1.0 - weight)
    np.copyto(labels, front_labels, where=cover >= 128)


def _disturb(frames: ImageArray, image: int, motion: SceneMotion, rng: np.random.Generator) -> None:
    """Exposure drift, sensor noise and defocus of all frames but the image of that index, in place."""
    drift = rng.normal(0.0, motion.exposure) / 10.0
    sigma = rng.uniform(0.0, motion.noise_sigma) if rng.random() < motion.noise else 0.0
    blur = rng.uniform(0.3, 0.7) if rng.random() < motion.blur else 0.0
    height, width = frames.shape[1:3]
    grain = rng.normal(0.0, sigma, (height + 16, width + 16, 3)).astype(np.int16) if sigma > 0.0 else None
    for index, frame in enumerate(frames):
        if index == image:
            continue
        out = cv2.convertScaleAbs(frame, alpha=max(1.0 + drift * (image - index), 0.5))
        if blur > 0.0:
            out = cv2.GaussianBlur(out, (0, 0), blur)
        if grain is not None:  # one field of noise, seen through another window in every frame
            dy, dx = rng.integers(0, 17, 2)
            window = grain[dy : dy + height, dx : dx + width]
            out = cv2.add(out, window, dtype=cv2.CV_8U)
        frame[...] = out
