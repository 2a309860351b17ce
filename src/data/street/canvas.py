"""A pinhole camera in a street and the canvas it draws textured planes on.

Metres: x to the right, y up from the ground, z along the street.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Texture = NDArray[np.uint8]  # (h, w, 4) RGB and coverage 0 or 255
Pyramid = list[Texture]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1

NEAR = 0.8  # metres; planes along the street are cut there
_MAX_LEVELS = 5


def pyramid(texture: Texture) -> Pyramid:
    """The texture and its halvings, against aliasing in the distance."""
    levels = [texture]
    while len(levels) < _MAX_LEVELS and min(levels[-1].shape[:2]) >= 4:
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), dtype=np.uint8))
    return levels


class Plane(NamedTuple):
    """A textured rectangle.

    Attributes:
        corners: (4, 3) top left, top right, bottom right, bottom left of the texture.
        texture: shown up to the edges.
        label: class of all that is covered.
        start: fraction of the texture's width that is cut off on its left.
    """

    corners: NDArray[np.float64]
    texture: Pyramid
    label: int
    start: float = 0.0


@dataclass(frozen=True)
class Camera:
    """Attributes: place in metres, yaw (to the right) and pitch (up) in radians, focal length in pixels."""

    x: float
    y: float
    z: float
    yaw: float
    pitch: float
    focal: float

    def project(self, points: NDArray[np.float64], centre: tuple[float, float]) -> NDArray[np.float32]:
        """Image coordinates (N, 2) of `points` (N, 3), which lie in front of the camera."""
        x, y, z = (points - (self.x, self.y, self.z)).T
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x, z = cos * x - sin * z, sin * x + cos * z
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        y, z = cos * y - sin * z, sin * y + cos * z
        z = np.maximum(z, 0.05)
        projected = np.stack([centre[0] + self.focal * x / z, centre[1] - self.focal * y / z], axis=1)
        return projected.astype(np.float32)


class Canvas:
    """Twice as fine as the frame it becomes; the fourth channel holds the label.

    Image and label of a pixel come from the same plane. The frame averages 2x2 canvas pixels, as a sensor
    does; its label is what most of them show.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = 2 * height, 2 * width
        self.centre = (self.width / 2.0, 0.46 * self.height)
        self.pixels = np.zeros((self.height, self.width, 4), np.uint8)

    def draw(self, camera: Camera, planes: list[Plane]) -> None:
        """Draws the planes one over the other."""
        if not planes:
            return
        corners = np.concatenate([plane.corners for plane in planes])
        targets = camera.project(corners, self.centre).reshape(-1, 4, 2)
        low, high = targets.min(axis=1), targets.max(axis=1)
        limits = (self.width, self.height)
        starts = np.clip(np.floor(low), 0, limits).astype(int).tolist()
        ends = np.clip(np.ceil(high), 0, limits).astype(int).tolist()
        sizes = np.maximum(high - low, 0.5).tolist()
        for plane, target, (x0, y0), (x1, y1), size in zip(planes, targets, starts, ends, sizes, strict=True):
            if x0 < x1 and y0 < y1:
                self._draw(plane, target, (x0, y0, x1, y1), size)

    def draw_ground(
        self,
        points: NDArray[np.float32],
        rows: tuple[int, int],
        texture: Texture,
        source: NDArray[np.float32],
        labels: tuple[int, int],
    ) -> None:
        """Fills `rows` with the plane whose four image `points` (4, 2) show the texture at `source` (4, 2).

        Covered places get the first of the `labels`, the others the second.
        """
        top, bottom = np.clip(rows, 0, self.height).tolist()
        if top < bottom:
            patch = _warp(texture, source, points, (0, top, self.width, bottom), cv2.BORDER_REPLICATE)
            patch[..., 3] = np.where(patch[..., 3] > 127, *labels)
            self.pixels[top:bottom] = patch

    def frame(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image (H, W, 3) and labels (H, W)."""
        colours = cv2.cvtColor(self.pixels, cv2.COLOR_RGBA2RGB)
        image = cv2.resize(colours, (self.width // 2, self.height // 2), interpolation=cv2.INTER_AREA)
        labels = self.pixels[..., 3]
        a, b, c, d = labels[::2, ::2], labels[::2, 1::2], labels[1::2, ::2], labels[1::2, 1::2]
        majority = np.where((b == c) | (b == d), b, np.where(c == d, c, a))
        return np.asarray(image, dtype=np.uint8), majority

    def _draw(self, plane: Plane, target: NDArray[np.float32], box: Box, size: list[float]) -> None:
        texture = _level(plane.texture, *size)
        height, width = texture.shape[:2]
        left = plane.start * width
        source = np.array([[left, 0], [width, 0], [width, height], [left, height]], np.float32)
        patch = _warp(texture, source, target, box)
        cover = cv2.threshold(cv2.extractChannel(patch, 3), 127, 255, cv2.THRESH_BINARY)[1]
        patch[..., 3] = plane.label
        cv2.copyTo(patch, cover, self.pixels[box[1] : box[3], box[0] : box[2]])


def _level(levels: Pyramid, wide: float, tall: float) -> Texture:
    """The level whose pixels are about as large as those of the canvas, seen `wide` x `tall`."""
    height, width = levels[0].shape[:2]
    ratio = max(height / tall, 0.5 * width / wide, 1.0)  # walls are foreshortened: rather flicker than blur
    return levels[min(int(math.log2(ratio)), len(levels) - 1)]


def _warp(
    texture: Texture,
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    box: Box,
    border: int = cv2.BORDER_CONSTANT,
) -> Texture:
    """The texture's `source` points at the image's `target` points; the part of the image in `box`."""
    corner = np.array(box[:2], np.float32) + 0.5
    matrix = cv2.getPerspectiveTransform(source - np.float32(0.5), target - corner)
    size = (box[2] - box[0], box[3] - box[1])
    return np.asarray(
        cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border), dtype=np.uint8
    )


def upright(x: float, z: float, width: float, bottom: float, top: float) -> NDArray[np.float64]:
    """Corners of a plane that faces along the street, its foot centred at (x, z)."""
    left, right = x - width / 2, x + width / 2
    return np.array([[left, top, z], [right, top, z], [right, bottom, z], [left, bottom, z]])


def along(x: float, near: float, far: float, height: float) -> NDArray[np.float64]:
    """Corners of a plane that stands along the street; the texture's left end is at `near`."""
    return np.array([[x, height, near], [x, height, far], [x, 0.0, far], [x, 0.0, near]])
