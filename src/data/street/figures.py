"""Textures of what moves in the procedural street: pedestrians, bicyclists and cars."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.street.canvas import Texture
from src.data.street.textures import FINE, PAINT, pick, solid

PHASES = 4  # phases of one step or turn of the pedals

_CLOTHES = ((40, 40, 50), (170, 50, 45), (55, 70, 130), (190, 180, 170), (60, 90, 60), (200, 160, 60))
_SKIN = ((215, 170, 140), (150, 105, 80))


class _Sketch:
    """Shapes in metres, y down from the top, painted on image and coverage together."""

    def __init__(self, width: float, height: float, colour: tuple[float, float, float]) -> None:
        size = (round(height * FINE), round(width * FINE))
        self.image = np.empty((*size, 3), np.float32)
        self.image[:] = colour
        self.cover = np.zeros(size, np.uint8)

    def line(self, points: list[tuple[float, float]], width: float, colour: tuple[float, ...]) -> None:
        path = [_pixels(points)]
        thick = max(1, round(width * FINE))
        cv2.polylines(self.image, path, False, colour, thick)
        cv2.polylines(self.cover, path, False, 255, thick)

    def area(self, points: list[tuple[float, float]], colour: tuple[float, ...]) -> None:
        cv2.fillPoly(self.image, [_pixels(points)], colour)
        cv2.fillPoly(self.cover, [_pixels(points)], 255)

    def disc(self, x: float, y: float, radius: float, colour: tuple[float, ...], hollow: bool = False) -> None:
        thick = max(2, round(0.06 * FINE)) if hollow else -1
        centre, size = (round(x * FINE), round(y * FINE)), round(radius * FINE)
        cv2.circle(self.image, centre, size, colour, thick)
        cv2.circle(self.cover, centre, size, 255, thick)

    def texture(self, rng: np.random.Generator) -> Texture:
        dust = rng.normal(0, 6, self.image.shape).astype(np.float32)
        return solid(self.image + dust, self.cover)


def _pixels(points: list[tuple[float, float]]) -> NDArray[np.int32]:
    return np.round(np.array(points) * FINE).astype(np.int32)


def pedestrian(rng: np.random.Generator) -> list[Texture]:
    """The phases of a walk, each 0.9 m wide and 1.8 m high."""
    coat, trousers, skin = pick(rng, _CLOTHES), pick(rng, _CLOTHES), pick(rng, _SKIN)
    phases = []
    for phase in range(PHASES):
        swing = 0.16 * np.sin(2 * np.pi * phase / PHASES)
        figure = _Sketch(0.9, 1.8, coat)
        figure.line([(0.40, 0.95), (0.40 - swing, 1.77)], 0.15, trousers)
        figure.line([(0.50, 0.95), (0.50 + swing, 1.77)], 0.15, trousers)
        figure.area([(0.26, 0.36), (0.64, 0.36), (0.60, 1.02), (0.30, 1.02)], coat)
        figure.line([(0.28, 0.42), (0.24 + swing, 0.95)], 0.10, coat)
        figure.line([(0.62, 0.42), (0.66 - swing, 0.95)], 0.10, coat)
        figure.disc(0.45, 0.17, 0.13, skin)
        figure.area([(0.33, 0.04), (0.57, 0.04), (0.57, 0.12), (0.33, 0.12)], (40.0, 32.0, 28.0))
        phases.append(figure.texture(rng))
    return phases


def cyclist_from_behind(rng: np.random.Generator) -> list[Texture]:
    """The phases of pedalling seen along the street, each 0.9 m wide and 1.8 m high."""
    coat, trousers, skin, helmet = (pick(rng, c) for c in (_CLOTHES, _CLOTHES, _SKIN, PAINT))
    phases = []
    for phase in range(PHASES):
        step = 0.12 * np.sin(2 * np.pi * phase / PHASES)
        figure = _Sketch(0.9, 1.8, coat)
        figure.line([(0.45, 1.1), (0.45, 1.76)], 0.07, (25.0, 25.0, 25.0))
        figure.line([(0.16, 0.88), (0.74, 0.88)], 0.06, (40.0, 40.0, 40.0))
        figure.line([(0.36, 0.9), (0.30, 1.2 + step), (0.34, 1.5 + step)], 0.14, trousers)
        figure.line([(0.54, 0.9), (0.60, 1.2 - step), (0.56, 1.5 - step)], 0.14, trousers)
        figure.area([(0.24, 0.34), (0.66, 0.34), (0.60, 0.98), (0.30, 0.98)], coat)
        figure.line([(0.26, 0.40), (0.18, 0.88)], 0.10, coat)
        figure.line([(0.64, 0.40), (0.72, 0.88)], 0.10, coat)
        figure.disc(0.45, 0.19, 0.12, skin)
        figure.area([(0.32, 0.03), (0.58, 0.03), (0.58, 0.15), (0.32, 0.15)], helmet)
        phases.append(figure.texture(rng))
    return phases


def cyclist_from_the_side(rng: np.random.Generator) -> list[Texture]:
    """The phases of pedalling seen across the street, each 1.8 m wide and 1.8 m high, riding to the right."""
    coat, trousers, skin, frame = (pick(rng, c) for c in (_CLOTHES, _CLOTHES, _SKIN, PAINT))
    phases = []
    for phase in range(PHASES):
        turn = 2 * np.pi * phase / PHASES
        figure = _Sketch(1.8, 1.8, coat)
        for x in (0.40, 1.40):
            figure.disc(x, 1.44, 0.32, (28.0, 28.0, 28.0), hollow=True)
        figure.line([(0.40, 1.44), (0.72, 0.95), (1.28, 0.95), (1.40, 1.44)], 0.05, frame)
        figure.line([(0.72, 0.95), (0.85, 1.44), (1.28, 0.95), (1.25, 0.80)], 0.05, frame)
        for sign in (1, -1):
            foot = (0.88 + 0.16 * sign * np.cos(turn), 1.44 + 0.16 * sign * np.sin(turn))
            figure.line([(0.72, 0.88), (1.02, 1.12 + 0.08 * sign * np.sin(turn)), foot], 0.13, trousers)
        figure.area([(0.62, 0.92), (0.82, 0.95), (1.12, 0.45), (0.92, 0.36)], coat)
        figure.line([(1.02, 0.46), (1.24, 0.82)], 0.09, coat)
        figure.disc(1.12, 0.22, 0.13, skin)
        phases.append(figure.texture(rng))
    return phases


def car_end(rng: np.random.Generator, paint: tuple[float, float, float], front: bool) -> Texture:
    """Front or back of a car, 1.8 m wide and 1.5 m high."""
    body = _Sketch(1.8, 1.5, paint)
    for x in (0.28, 1.52):
        body.area([(x - 0.14, 1.1), (x + 0.14, 1.1), (x + 0.14, 1.49), (x - 0.14, 1.49)], (22.0, 22.0, 22.0))
    body.area([(0.06, 0.7), (0.36, 0.05), (1.44, 0.05), (1.74, 0.7), (1.74, 1.28), (0.06, 1.28)], paint)
    body.area([(0.28, 0.62), (0.46, 0.14), (1.34, 0.14), (1.52, 0.62)], (55.0, 62.0, 70.0))
    lamp = (235.0, 235.0, 220.0) if front else (190.0, 25.0, 25.0)
    for x in (0.1, 1.46):
        body.area([(x, 0.76), (x + 0.24, 0.76), (x + 0.24, 0.92), (x, 0.92)], lamp)
    plate = (225.0, 225.0, 225.0) if front else (220.0, 190.0, 60.0)
    body.area([(0.66, 1.0), (1.14, 1.0), (1.14, 1.12), (0.66, 1.12)], plate)
    body.area([(0.06, 1.2), (1.74, 1.2), (1.74, 1.28), (0.06, 1.28)], tuple(0.5 * c for c in paint))
    return body.texture(rng)


def car_side(rng: np.random.Generator, paint: tuple[float, float, float]) -> Texture:
    """Side of a car, 4.2 m long and 1.5 m high."""
    body = _Sketch(4.2, 1.5, paint)
    darker = tuple(0.8 * c for c in paint)
    body.area([(0.0, 0.72), (0.5, 0.08), (2.6, 0.08), (3.3, 0.66), (4.2, 0.8), (4.2, 1.25), (0.0, 1.25)], darker)
    body.area([(0.35, 0.64), (0.66, 0.18), (1.5, 0.18), (1.5, 0.64)], (50.0, 56.0, 64.0))
    body.area([(1.6, 0.64), (1.6, 0.18), (2.5, 0.18), (3.05, 0.64)], (50.0, 56.0, 64.0))
    for x in (0.85, 3.35):
        body.disc(x, 1.17, 0.32, (22.0, 22.0, 22.0))
        body.disc(x, 1.17, 0.16, (130.0, 130.0, 132.0))
    return body.texture(rng)
