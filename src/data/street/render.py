"""The built-in data set `street`: procedural videos of a drive through a street, labels on every pixel.

Each seed is another street, light and drive. Classes and their numbers are those of CamVid; thin and small
things (poles, signs, people) are as frequent as there, so that resolution matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.street import textures
from src.data.street.canvas import NEAR, Camera, Canvas, Plane, along, pyramid, upright
from src.data.street.layout import CAR, CAR_LENGTH, PAVEMENT, ROAD, TREE, StreetLayout, Thing, build_street

FORMAT = 1  # raise when the same seed gives other frames or labels; prepared clips are made again then

_VIEW = 60.0  # metres the camera looks ahead
_FOCAL = 0.95  # image widths


def render_street(
    seed: int, frames: int, height: int, width: int, fps: float = 15.0
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Frames of the video number `seed`: image (height, width, 3) uint8 RGB and labels (height, width) uint8.

    The same arguments give the same video. Labels are 0..10, every pixel is labelled.
    """
    rng = np.random.default_rng([seed, 0x57])
    drive = _draw_drive(rng, frames, fps)
    street = build_street(rng, float(drive[-1, 2]), frames / fps, _VIEW)
    canvas = Canvas(height, width)
    painter = _Painter(canvas, street, rng)
    look = _draw_light(rng)
    grain = rng.normal(0.0, rng.uniform(1.0, 3.0), (height + 16, width + 16, 3)).astype(np.int16)
    for number, (x, y, z, yaw, pitch) in enumerate(drive.tolist()):
        painter.paint(Camera(x, y, z, yaw, pitch, _FOCAL * canvas.width), number / fps)
        image, labels = canvas.frame()
        dy, dx = rng.integers(0, 17, 2)
        noisy = cv2.add(cv2.LUT(image, look), grain[dy : dy + height, dx : dx + width], dtype=cv2.CV_8U)
        yield np.asarray(noisy, dtype=np.uint8), labels


def _draw_drive(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    """Camera (x, y, z, yaw, pitch) of each frame: (frames, 5)."""
    time = np.arange(frames) / fps

    def swing(amplitude: float, period: float) -> NDArray[np.float64]:
        size, phase = rng.normal(0.0, amplitude), rng.uniform(0.0, 2 * np.pi)
        return np.asarray(size * np.sin(2 * np.pi * time / (period * rng.uniform(0.7, 1.4)) + phase))

    speed = np.clip(rng.uniform(2.5, 8.0) + swing(2.0, 8.0), 0.0, 10.0)
    way = np.concatenate([[0.0], np.cumsum(speed[:-1]) / fps])
    x = -1.5 + swing(0.4, 6.0)
    yaw = swing(0.05, 5.0) + swing(0.01, 1.2)
    pitch = swing(0.004, 0.8) + swing(0.006, 2.5)
    return np.stack([x, np.full(frames, rng.uniform(1.25, 1.5)), way, yaw, pitch], axis=1)


def _draw_light(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, contrast and colour cast of a video as a table (256, 1, 3)."""
    level = np.linspace(0.0, 1.0, 256)[:, None]
    gain = rng.uniform(0.55, 1.1) * rng.normal(1.0, 0.04, 3)
    table = 255.0 * np.clip(gain * level ** rng.uniform(0.85, 1.2), 0.0, 1.0)
    return np.asarray(np.rint(table), dtype=np.uint8)[:, None]


class _Painter:
    """Draws a street as a camera sees it at one moment, from far to near."""

    def __init__(self, canvas: Canvas, street: StreetLayout, rng: np.random.Generator) -> None:
        self.canvas, self.street = canvas, street
        self.sky = textures.sky(rng, canvas.height, 2 * canvas.width)
        self.backdrop = pyramid(textures.backdrop(rng))
        self.walls = sorted(street.walls, key=lambda wall: -wall.far)

    def paint(self, camera: Camera, time: float) -> None:
        left = int(np.clip((0.5 * self.canvas.width) + camera.yaw * camera.focal, 0, self.canvas.width))
        self.canvas.pixels[:] = self.sky[:, left : left + self.canvas.width]
        self._ground(camera)
        end = upright(0.0, camera.z + _VIEW, 160.0, 0.0, 9.0)
        planes = [Plane(end, self.backdrop, TREE)]
        planes += _planes(self.street.gardens, camera, time, np.inf)
        for wall in self.walls:
            near = max(wall.near, camera.z + NEAR)
            if near < wall.far and wall.near < camera.z + _VIEW:
                start = (near - wall.near) / (wall.far - wall.near)
                planes.append(Plane(along(wall.x, near, wall.far, wall.height), wall.texture, wall.label, start))
        planes += _planes(self.street.things, camera, time, self.street.road + self.street.pavement)
        self.canvas.draw(camera, planes)

    def _ground(self, camera: Camera) -> None:
        """Three strips of ever finer texture, so that the distance does not flicker."""
        start = 12.0 * np.floor(camera.z / 12.0)
        limits = [camera.z + ahead for ahead in (70.0, 16.0, 8.0, 2.0)]
        middle = np.array([[camera.x, 0.0, z] for z in limits])
        rows = np.rint(camera.project(middle, self.canvas.centre)[:, 1]).astype(int).tolist()
        rows[-1] = self.canvas.height
        for strip, texture in enumerate(self.street.ground[::-1]):
            far, near = limits[strip], limits[strip + 1]
            plane = np.array([[-9.0, 0.0, far], [9.0, 0.0, far], [9.0, 0.0, near], [-9.0, 0.0, near]])
            density = texture.shape[1] / textures.GROUND_WIDTH
            source = ((plane[:, ::2] + (textures.GROUND_WIDTH / 2, -start)) * density).astype(np.float32)
            points = camera.project(plane, self.canvas.centre)
            self.canvas.draw_ground(points, (rows[strip], rows[strip + 1]), texture, source, (ROAD, PAVEMENT))


def _planes(things: list[Thing], camera: Camera, time: float, reach: float) -> list[Plane]:
    """Planes of the things in sight at `time` less than `reach` from the middle, farthest first."""
    planes: list[tuple[float, Plane]] = []
    for thing in things:
        x, z = thing.place(time)
        if camera.z + 1.5 < z < camera.z + _VIEW and abs(x) < reach:
            if thing.side is not None:
                flank = x + (0.9 if camera.x > x else -0.9)
                planes.append((z + 0.01, Plane(along(flank, z, z + CAR_LENGTH, 1.5), thing.side, CAR)))
            corners = upright(x, z, thing.width, thing.bottom, thing.top)
            planes.append((z, Plane(corners, thing.phase(time), thing.label)))
    return [plane for _, plane in sorted(planes, key=itemgetter(0), reverse=True)]
