"""Textures of the procedural street, drawn from a generator: `PIXELS` per metre, RGB and coverage."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.street.canvas import Texture

PIXELS = 24
FINE = 48  # pixels per metre of people, cars and signs
GROUND_WIDTH = 40  # metres
Colour = tuple[int, int, int]

_WALLS = ((150, 90, 70), (190, 170, 140), (165, 150, 135), (120, 75, 60), (205, 195, 180), (125, 120, 118))
PAINT = ((160, 30, 30), (40, 60, 120), (190, 190, 195), (30, 30, 35), (225, 225, 220), (90, 95, 100))


def grain(rng: np.random.Generator, height: int, width: int, size: float, strength: float) -> NDArray[np.float32]:
    """Smooth random field (height, width, 1), blobs of `size` pixels, standard deviation `strength`."""
    small = (max(2, int(height / size) + 2), max(2, int(width / size) + 2))
    noise = rng.normal(0.0, strength, small).astype(np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, dtype=np.float32)[..., None]


def jitter(rng: np.random.Generator, colour: Colour, amount: float = 14.0) -> NDArray[np.float32]:
    """The colour, a little lighter or darker and a little tinted."""
    shift = rng.normal(0, amount) + rng.normal(0, amount / 3, 3)
    return np.asarray(colour + shift, dtype=np.float32)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> tuple[float, float, float]:
    """One of the colours, jittered, as OpenCV wants it."""
    red, green, blue = np.clip(jitter(rng, colours[int(rng.integers(len(colours)))]), 5, 250).tolist()
    return red, green, blue


def solid(image: NDArray[np.float32], cover: NDArray[np.uint8] | None = None) -> Texture:
    """Texture of an image with coverage (default: everywhere)."""
    if cover is None:
        cover = np.full(image.shape[:2], 255, np.uint8)
    return np.dstack([np.clip(image, 0, 255).astype(np.uint8), cover])


def facade(rng: np.random.Generator, width: float, height: float, light: float) -> Texture:
    """A house front: masonry, rows of windows, a shop or a door below, a gable or a flat roof."""
    h, w = int(height * PIXELS), int(width * PIXELS)
    image = np.empty((h, w, 3), np.float32)
    image[:] = pick(rng, _WALLS)
    image += grain(rng, h, w, 30, 7.0) + grain(rng, h, w, 3, 6.0)
    image[:: PIXELS // 4] -= 10.0
    glass, frame = jitter(rng, (60, 70, 85), 12), jitter(rng, (200, 195, 185), 25)
    storey, bay = int(rng.uniform(2.7, 3.3) * PIXELS), int(rng.uniform(1.8, 2.8) * PIXELS)
    pane_h, pane_w = int(0.5 * storey), int(rng.uniform(0.35, 0.6) * bay)
    for top in range(h - storey - pane_h - storey // 4, 0, -storey):
        for left in range(bay // 4, w - pane_w, bay):
            image[top - 2 : top + pane_h + 2, max(left - 2, 0) : left + pane_w + 2] = frame
            image[top : top + pane_h, left : left + pane_w] = glass + rng.normal(0, 8)
            image[top + pane_h // 2, left : left + pane_w] = frame
    if rng.random() < 0.5:  # shop window under a coloured board
        image[-storey + 6 : -storey + 20] = pick(rng, PAINT)
        image[-storey + 20 : -10, 8:-8] = glass + grain(rng, storey - 30, w - 16, 12, 14.0)
        image[-storey + 20 : -10, 8 : -8 : max(bay, 8)] = frame
    image[-6:] *= 0.6
    cover = np.full((h, w), 255, np.uint8)
    if rng.random() < 0.4:
        peak = int(0.15 * h)
        cv2.fillPoly(cover, [np.array([[0, 0], [w // 2, 0], [0, peak]])], 0)
        cv2.fillPoly(cover, [np.array([[w, 0], [w // 2, 0], [w, peak]])], 0)
    return solid(image * light, cover)


def fence(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Bars in front of a hedge or planks; no gaps, as fences are labelled in street data sets."""
    h, w = int(height * PIXELS), int(width * PIXELS)
    image = np.empty((h, w, 3), np.float32)
    image[:] = pick(rng, ((110, 95, 75), (80, 90, 60), (120, 115, 110)))
    image += grain(rng, h, w, 4, 9.0)
    bar, step = jitter(rng, (60, 60, 58), 25), int(rng.integers(5, 9))
    for offset in (0, 1):
        image[:, offset::step] = bar
    image[1:4] = image[-8:-5] = bar
    return solid(image)


def tree(rng: np.random.Generator) -> Texture:
    """Trunk and a ragged crown, 5 m wide and 7 m high."""
    h, w = 7 * PIXELS, 5 * PIXELS
    image = np.empty((h, w, 3), np.float32)
    leaf = jitter(rng, ((70, 95, 45), (105, 100, 50), (55, 80, 50))[int(rng.integers(3))])
    image[:] = leaf + grain(rng, h, w, 5, 22.0) + grain(rng, h, w, 2, 16.0)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    radius = np.hypot((x - w / 2) / (0.46 * w), (y - 0.38 * h) / (0.36 * h))
    crown = radius[..., None] + grain(rng, h, w, 9, 0.16) < 1.0
    trunk = (np.abs(x - w / 2) < 0.035 * w + 0.02 * (y - 0.5 * h)) & (y > 0.5 * h)
    image[trunk & ~crown[..., 0]] = jitter(rng, (75, 62, 50))
    return solid(image, np.where(crown[..., 0] | trunk, 255, 0).astype(np.uint8))


def lamp_post(rng: np.random.Generator) -> Texture:
    """A 6 m pole with an arm, in a texture 1.6 m wide whose foot is in its middle."""
    h, w = 6 * PIXELS, int(1.6 * PIXELS)
    image = np.empty((h, w, 3), np.float32)
    image[:] = pick(rng, ((70, 72, 70), (120, 122, 120), (50, 55, 50)))
    cover = np.zeros((h, w), np.uint8)
    half = 2
    cover[:, w // 2 - half : w // 2 + half] = 255
    image[:, w // 2] += 30
    if rng.random() < 0.6:
        cover[4:7, w // 2 :] = 255
        cover[5:10, -8:] = 255
    return solid(image, cover)


def mast(rng: np.random.Generator) -> Texture:
    """The pole of a sign, as wide as its texture."""
    image = np.empty((24, 4, 3), np.float32)
    image[:] = pick(rng, ((110, 112, 112), (70, 70, 72)))
    image[:, 1] += 30
    return solid(image)


def backdrop(rng: np.random.Generator) -> Texture:
    """Trees where the street ends, 160 m by 9 m at 3 pixels per metre."""
    h, w = 27, 480
    image = np.empty((h, w, 3), np.float32)
    image[:] = jitter(rng, (95, 105, 85))
    image += grain(rng, h, w, 4, 12.0)
    top = 0.3 * h + grain(rng, 1, w, 12, 3.0)[0, :, 0]
    return solid(image, np.where(np.arange(h)[:, None] >= top, 255, 0).astype(np.uint8))


def sign(rng: np.random.Generator) -> Texture:
    """A traffic sign or light, 0.75 m wide and high (lights: the middle third)."""
    size = int(0.75 * FINE)
    image, cover = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
    middle, kind = size // 2, int(rng.integers(4))
    if kind == 0:
        cv2.circle(cover, (middle, middle), middle - 1, 255, -1)
        image[:] = (190, 30, 35)
        cv2.circle(image, (middle, middle), middle - 7, (230, 230, 225), -1)
    elif kind == 1:
        corners = np.array([[middle, 0], [size - 1, size - 1], [0, size - 1]])
        cv2.fillPoly(cover, [corners], 255)
        image[:] = (190, 30, 35)
        cv2.fillPoly(image, [(corners * 0.6 + np.array([middle, size * 0.7]) * 0.4).astype(np.int32)], (235, 235, 230))
    elif kind == 2:
        cover[2:-2] = 255
        image[:] = (35, 70, 160)
        cv2.rectangle(image, (8, 10), (size - 9, size - 11), (225, 225, 225), 3)
    else:
        cover[:, size // 3 : -size // 3] = 255
        image[:] = (30, 32, 30)
        cv2.circle(image, (middle, size // 4 + int(rng.integers(3)) * size // 4), 4, (60, 220, 120), -1)
    return solid(image.astype(np.float32), cover)


def ground(rng: np.random.Generator, road: float) -> list[Texture]:
    """Road and pavements from above at 24, 12 and 6 pixels per metre; 40 m wide, repeated every 12 m.

    Columns run to the right and rows along the street; coverage is 255 on the road, which is `road` metres to
    each side of the middle.
    """
    h, w = 12 * PIXELS, GROUND_WIDTH * PIXELS
    across = np.abs((np.arange(w) + 0.5) / PIXELS - GROUND_WIDTH / 2)
    cover = np.broadcast_to(np.where(across < road, 255, 0), (h, w)).astype(np.uint8)
    slabs = np.empty((h, w, 3), np.float32)
    slabs[:] = jitter(rng, (140, 132, 124), 12)
    slabs[:: PIXELS * 3 // 4] -= 22
    slabs[:, :: PIXELS * 3 // 4] -= 22
    asphalt = jitter(rng, (92, 92, 96), 10) + grain(rng, h, w, 60, 6.0)
    for _ in range(3):  # repaired patches
        top, left = int(rng.integers(h - 60)), int(rng.integers(w // 3, 2 * w // 3))
        asphalt[top : top + 60, left : left + 30] -= 14
    asphalt[: h // 4, w // 2 - 2 : w // 2 + 2] = asphalt[h // 2 : 3 * h // 4, w // 2 - 2 : w // 2 + 2] = 205
    asphalt[:, (across > road - 0.45) & (across < road - 0.3)] = jitter(rng, (190, 170, 80))
    image = np.where(cover[..., None] > 0, asphalt, slabs)
    image[:, (across > road) & (across < road + 0.2)] = jitter(rng, (170, 168, 162))
    image += grain(rng, h, w, 2, 7.0) + grain(rng, h, w, 9, 5.0)
    tile = solid(image, cover)
    levels = []
    for scale, repeats in ((1, 2), (2, 3), (4, 8)):  # as far as each level is drawn
        small = cv2.resize(tile, (w // scale, h // scale), interpolation=cv2.INTER_AREA)
        levels.append(np.tile(np.asarray(small, dtype=np.uint8), (repeats, 1, 1)))
    return levels


def sky(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Clouds over a gradient, (height, width, 4) uint8 with label 0 in the last channel."""
    top = jitter(rng, ((120, 155, 205), (190, 195, 200), (150, 165, 185))[int(rng.integers(3))])
    low = jitter(rng, (225, 228, 230), 8)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    clouds = grain(rng, height, width, width / 6, 14.0) + grain(rng, height, width, width / 20, 6.0)
    image = top * (1 - y) + low * y + clouds
    return solid(image, np.zeros((height, width), np.uint8))
