"""Split a labelled image into layers with a depth: far background, standing scene, objects.

Depth comes from the labels alone: road and pavement are the ground plane, the sky is infinitely far, and
whatever stands does so at the depth of the place where it touches the ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.images import ImageArray
from src.data.labels import IGNORE

_SKY, _GROUND, _STANDING, _OBJECT = range(4)
_MIN_OBJECT_PIXELS = 48
_MAX_OBJECT_WIDTH = 0.3  # of the image; a row of parked cars in one piece does not face the camera
_FARTHEST = 60.0  # camera heights; closer to the horizon the contact row says nothing any more


@dataclass(frozen=True)
class SceneRoles:
    """Roles of the classes of a data set in space; a class not named stands at the side of the street.

    Attributes:
        sky: infinitely far.
        ground: on the ground plane.
        thin: upright objects that do not move (poles, signs).
        moving: upright objects that may move on their own.
    """

    sky: tuple[int, ...] = (0,)
    ground: tuple[int, ...] = (3, 4)
    thin: tuple[int, ...] = (2, 6)
    moving: tuple[int, ...] = (8, 9, 10)


@dataclass(frozen=True)
class Layer:
    """A cut-out of the image.

    Attributes:
        pixels: (h, w, 4) uint8, RGB and coverage 0 or 255.
        labels: (h, w) uint8; 255 where the image itself shows nothing.
        origin: (x, y) of the cut-out's first pixel in the image, may be negative.
    """

    pixels: ImageArray
    labels: ImageArray
    origin: tuple[int, int]


@dataclass(frozen=True)
class SceneObject(Layer):
    """A connected object that faces the camera.

    Attributes:
        nearness: 1 / depth in 1 / camera heights.
        moves: whether it may move on its own.
    """

    nearness: float
    moves: bool


@dataclass(frozen=True)
class SceneLayers:
    """The layers of an image; drawn background first, then `standing`, then `objects`, it is itself again.

    Attributes:
        background: sky and ground, complete behind everything else.
        standing: buildings, trees, fences; complete behind the objects.
        nearness: (W,) float32, 1 / depth of `standing` per column.
        objects: farthest first.
        horizon: row of the vanishing line, pixels.
    """

    background: Layer
    standing: Layer
    nearness: NDArray[np.float32]
    objects: list[SceneObject]
    horizon: float


def as_image(array: NDArray[Any]) -> ImageArray:
    """Convert what OpenCV returned, which is known to be uint8."""
    return np.asarray(array, dtype=np.uint8)


def split_layers(image: ImageArray, labels: ImageArray, focal: float, roles: SceneRoles) -> SceneLayers:
    """Layers of `image` (H, W, 3) by its `labels` (H, W); `focal` in pixels."""
    kind, horizon = _kinds(labels, roles)
    components = _components(labels, roles, kind)
    behind = _nearest(kind != _OBJECT)
    scene_image, scene_labels, scene_kind = (_take(a, behind) for a in (image, labels, kind))
    nearness = _standing_nearness(scene_kind, horizon, focal)
    far = _nearest(scene_kind != _STANDING)
    everywhere = np.full(labels.shape, 255, np.uint8)
    standing = np.where(scene_kind == _STANDING, 255, 0).astype(np.uint8)
    objects = [_cut(image, labels, mask, box, horizon, focal, nearness, roles) for mask, box in components]
    return SceneLayers(
        background=_mirrored(_take(scene_image, far), everywhere, _take(scene_labels, far)),
        standing=_mirrored(scene_image, standing, scene_labels),
        nearness=nearness,
        objects=sorted(objects, key=lambda o: o.nearness),
        horizon=horizon,
    )


def _kinds(labels: ImageArray, roles: SceneRoles) -> tuple[ImageArray, float]:
    height = labels.shape[0]
    table = np.full(256, _STANDING, np.uint8)
    for classes, kind in ((roles.sky, _SKY), (roles.ground, _GROUND), (roles.thin + roles.moving, _OBJECT)):
        table[list(classes)] = kind
    kinds = as_image(cv2.LUT(labels, table))
    ground_rows = np.flatnonzero((kinds == _GROUND).mean(axis=1) > 0.02)
    top = float(ground_rows[0]) - 2.0 if len(ground_rows) else 0.5 * height
    horizon = float(np.clip(top, 0.35 * height, 0.6 * height))
    below = np.arange(height)[:, None] > horizon
    kinds[(labels == IGNORE) & below] = _GROUND
    return kinds, horizon


def _components(
    labels: ImageArray, roles: SceneRoles, kind: ImageArray
) -> list[tuple[NDArray[np.bool_], tuple[int, int, int, int]]]:
    """Masks and boxes (x, y, w, h) of the objects; `kind` of specks and whole rows becomes standing."""
    found = []
    for classes in (roles.thin, *((c,) for c in roles.moving)):  # a sign belongs to its pole
        _, ids, stats, _ = cv2.connectedComponentsWithStats(np.isin(labels, classes).astype(np.uint8))
        for number, (x, y, w, h, area) in enumerate(stats[1:].tolist(), start=1):
            mask = ids[y : y + h, x : x + w] == number
            if area < _MIN_OBJECT_PIXELS or w > _MAX_OBJECT_WIDTH * labels.shape[1]:
                kind[y : y + h, x : x + w][mask] = _STANDING
            else:
                found.append((mask, (x, y, w, h)))
    return found


def _nearest(known: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(H, W) flat index of the nearest known pixel of each pixel."""
    if not known.any():
        return np.arange(known.size).reshape(known.shape)
    _, ids = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    position = np.zeros(int(ids.max()) + 1, np.intp)
    position[ids[known]] = np.flatnonzero(known)
    return np.asarray(position[ids])


def _take(values: ImageArray, index: NDArray[np.intp]) -> ImageArray:
    return values.reshape(index.size, -1)[index.ravel()].reshape(values.shape)


def _mirrored(image: ImageArray, cover: ImageArray, labels: ImageArray) -> Layer:
    """Extend a layer by half an image on all sides, as its mirror image; labels are ignored there."""
    height, width = labels.shape
    sides = (height // 2, height // 2, width // 2, width // 2)
    pixels = cv2.copyMakeBorder(np.dstack([image, cover]), *sides, borderType=cv2.BORDER_REFLECT)
    if (cover == 0).any():  # nothing stands upside down below the image
        pixels[-(height // 2) :, :, 3] = 0
    wide = cv2.copyMakeBorder(labels, *sides, borderType=cv2.BORDER_CONSTANT, value=(IGNORE,))
    return Layer(as_image(pixels), as_image(wide), (-(width // 2), -(height // 2)))


def _standing_nearness(kind: ImageArray, horizon: float, focal: float) -> NDArray[np.float32]:
    """Per column, from the lowest place where the standing scene touches the ground, smoothed sideways."""
    width = kind.shape[1]
    touch = (kind[:-1] == _STANDING) & (kind[1:] == _GROUND)
    row = len(touch) - 1 - np.argmax(touch[::-1], axis=0)
    columns = np.flatnonzero(touch.any(axis=0))
    if len(columns) == 0:
        return np.full(width, 3.0 / _FARTHEST, np.float32)
    contact = np.interp(np.arange(width), columns, row[columns]).astype(np.float32)
    nearness = np.maximum((contact - horizon) / focal, 1.0 / _FARTHEST)
    size = 2 * (width // 48) + 1
    smooth = cv2.blur(nearness[None], (size, 1), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth[0], dtype=np.float32)


def _cut(
    image: ImageArray,
    labels: ImageArray,
    mask: NDArray[np.bool_],
    box: tuple[int, int, int, int],
    horizon: float,
    focal: float,
    standing: NDArray[np.float32],
    roles: SceneRoles,
) -> SceneObject:
    """One object; beyond the edge of the image it continues as its mirror image, with ignored labels."""
    x, y, w, h = box
    height, width = labels.shape
    cover = np.where(mask, 255, 0).astype(np.uint8)
    pixels = np.dstack([image[y : y + h, x : x + w], cover])
    # A rim of its own colours around the cut-out: interpolation must not mix in what was behind it.
    pixels[..., :3] = _take(pixels[..., :3].copy(), _nearest(mask))
    top, left = (h if y == 0 else 0), (w if x == 0 else 0)
    bottom, right = (h if y + h == height else 0), (w if x + w == width else 0)
    pixels = cv2.copyMakeBorder(pixels, top, bottom, left, right, borderType=cv2.BORDER_REFLECT)
    pixels = cv2.copyMakeBorder(pixels, 1, 1, 1, 1, borderType=cv2.BORDER_REPLICATE)
    pixels[[0, -1], :, 3] = 0
    pixels[:, [0, -1], 3] = 0
    top, left = top + 1, left + 1
    cut_labels = np.full(pixels.shape[:2], IGNORE, np.uint8)
    cut_labels[top : top + h, left : left + w] = labels[y : y + h, x : x + w]
    centre = min(x + w // 2, width - 1)
    nearness = max((y + h - horizon) / focal, float(standing[centre]))
    moves = int(labels[y : y + h, x : x + w][mask][0]) in roles.moving
    return SceneObject(as_image(pixels), cut_labels, (x - left, y - top), nearness, moves)
