"""Lay out one procedural street: what stands and moves where; nothing is drawn here.

Metres and seconds; x to the right of the middle of the road, z along the street from where the camera starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from src.data.street import figures, textures
from src.data.street.canvas import Pyramid, Texture, pyramid

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
CAR_LENGTH = 4.2
_PHASE_METRES = 0.35  # way per phase of a walk or of turning pedals


@dataclass(frozen=True)
class Wall:
    """A plane along the street at `x`, from `near` to `far`."""

    x: float
    near: float
    far: float
    height: float
    texture: Pyramid
    label: int


@dataclass(frozen=True)
class Thing:
    """A plane that faces the camera.

    Attributes:
        x, z: place of its foot at time 0.
        width, bottom, top: extent; `bottom` above the ground.
        phases: the phases of its motion, one if it has none.
        label: class.
        velocity: (across, along) in m/s.
        side: texture of the side of a car.
    """

    x: float
    z: float
    width: float
    bottom: float
    top: float
    phases: list[Pyramid]
    label: int
    velocity: tuple[float, float] = (0.0, 0.0)
    side: Pyramid | None = None

    def place(self, time: float) -> tuple[float, float]:
        """(x, z) at `time`."""
        return self.x + time * self.velocity[0], self.z + time * self.velocity[1]

    def phase(self, time: float) -> Pyramid:
        """The phase of its motion at `time`."""
        way = time * math.hypot(*self.velocity) + self.z
        return self.phases[int(way / _PHASE_METRES) % len(self.phases)]


@dataclass
class StreetLayout:
    """A street under construction, then as it is drawn.

    Attributes:
        length: metres that are built.
        road, pavement: half the width of the road, width of a pavement.
        ground: three levels of the ground texture, see `textures.ground`.
        walls: house fronts and fences.
        gardens: trees behind the fences.
        things: everything on road and pavements.
    """

    length: float
    road: float
    pavement: float
    ground: list[Texture]
    walls: list[Wall] = field(default_factory=list)
    gardens: list[Thing] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)


def build_street(rng: np.random.Generator, way: float, duration: float, view: float) -> StreetLayout:
    """A street for a drive of `way` metres in `duration` seconds, built `view` metres beyond its end."""
    length = way + view
    road = float(rng.uniform(3.4, 4.6))
    street = StreetLayout(length, road, float(rng.uniform(2.2, 3.6)), textures.ground(rng, road))
    shades = rng.permutation([1.0, 0.75])  # one side of the street lies in the shade
    for side, shade in zip((-1, 1), shades.tolist(), strict=True):
        _add_fronts(street, rng, side, shade)
        _add_furniture(street, rng, side)
        _add_walkers(street, rng, side)
    _add_cars(street, rng, way / duration)
    _add_riders(street, rng, duration)
    return street


def _spaced(rng: np.random.Generator, start: float, length: float, least: float, most: float) -> list[float]:
    """Places along the street, `least` to `most` metres apart."""
    places = np.cumsum(rng.uniform(least, most, int(max(length - start, 0.0) / least) + 1)) + start
    return [float(z) for z in places if z < length]


def _add_fronts(street: StreetLayout, rng: np.random.Generator, side: int, shade: float) -> None:
    """Houses, with fenced gardens between them."""
    line = side * (street.road + street.pavement)
    sizes = [(float(w), float(h)) for w, h in rng.uniform((7, 5), (13, 11), (5, 2))]
    houses = [pyramid(textures.facade(rng, w, h, shade)) for w, h in sizes]
    fences = [pyramid(textures.fence(rng, 8.0, 1.4)) for _ in range(2)]
    trees = [[pyramid(textures.tree(rng))] for _ in range(3)]
    z = float(rng.uniform(-12.0, 0.0))
    while z < street.length:
        number = int(rng.integers(5))
        if rng.random() < 0.65:
            width, height = sizes[number]
            street.walls.append(Wall(line, z, z + width, height, houses[number], BUILDING))
        else:
            width = 8.0
            street.walls.append(Wall(line, z, z + width, 1.4, fences[number % 2], FENCE))
            for offset in (1.5, 5.0):
                size, x = float(rng.uniform(0.8, 1.3)), line + side * float(rng.uniform(2.0, 4.0))
                tree = trees[int(rng.integers(3))]
                street.gardens.append(Thing(x, z + offset, 5 * size, 0.0, 7 * size, tree, TREE))
        z += width


def _add_furniture(street: StreetLayout, rng: np.random.Generator, side: int) -> None:
    """Lamp posts, signs on poles and trees along the kerb."""
    kerb = side * (street.road + 0.4)
    post = [pyramid(textures.lamp_post(rng))]
    for z in _spaced(rng, 4.0, street.length, 9.0, 20.0):
        street.things.append(Thing(kerb, z, 1.6, 0.0, 6.0, post, POLE))
    mast = [pyramid(textures.mast(rng))]
    for z in _spaced(rng, 2.0, street.length, 8.0, 20.0):
        top = float(rng.uniform(2.4, 3.2))
        street.things.append(Thing(kerb, z, 0.14, 0.0, top, mast, POLE))
        board = [pyramid(textures.sign(rng))]
        size = float(rng.uniform(0.75, 1.1))
        street.things.append(Thing(kerb, z - 0.05, size, top - size, top, board, SIGN))
    if rng.random() < 0.5:
        tree = [pyramid(textures.tree(rng))]
        for z in _spaced(rng, 6.0, street.length, 12.0, 25.0):
            street.things.append(Thing(kerb + side * 0.6, z, 4.0, 0.0, 5.6, tree, TREE))


def _add_walkers(street: StreetLayout, rng: np.random.Generator, side: int) -> None:
    """Pedestrians along the pavement, a few across the road."""
    people = [[pyramid(p) for p in figures.pedestrian(rng)] for _ in range(4)]
    for z in _spaced(rng, 3.0, street.length, 3.0, 12.0):
        x = side * (street.road + float(rng.uniform(0.8, street.pavement - 0.4)))
        speed = (0.0, float(rng.choice([-1.4, -1.1, 1.1, 1.4])))
        if rng.random() < 0.12:
            x, speed = side * float(rng.uniform(0.0, street.road)), (-side * 1.2, 0.0)
        tall = float(rng.uniform(1.6, 1.9))
        street.things.append(Thing(x, z, tall / 2, 0.0, tall, people[int(rng.integers(4))], PEDESTRIAN, speed))


def _add_cars(street: StreetLayout, rng: np.random.Generator, speed: float) -> None:
    """Parked cars along the kerbs, oncoming cars on the right, one ahead at the camera's `speed`."""
    kinds = []
    for _ in range(5):
        paint = textures.pick(rng, textures.PAINT)
        ends = [pyramid(figures.car_end(rng, paint, front)) for front in (False, True)]
        kinds.append((ends, pyramid(figures.car_side(rng, paint))))

    def add(x: float, z: float, along: float, front: bool) -> None:
        ends, side = kinds[int(rng.integers(5))]
        street.things.append(Thing(x, z, 1.8, 0.0, 1.5, [ends[front]], CAR, (0.0, along), side))

    for side in (-1, 1):
        if rng.random() < 0.6:
            for z in _spaced(rng, 6.0, street.length, 6.0, 22.0):
                add(side * (street.road - 1.0), z, 0.0, side > 0)
    for z in _spaced(rng, 15.0, 3 * street.length, 15.0, 50.0):
        add(0.35 * street.road, z, -8.0, True)
    add(-0.35 * street.road, float(rng.uniform(10.0, 25.0)), speed, False)


def _add_riders(street: StreetLayout, rng: np.random.Generator, duration: float) -> None:
    """Bicyclists near both kerbs, a few crossing the street."""
    riders = [[pyramid(p) for p in figures.cyclist_from_behind(rng)] for _ in range(3)]
    crossing = [pyramid(p) for p in figures.cyclist_from_the_side(rng)]
    for side in (-1, 1):
        for z in _spaced(rng, 5.0, street.length, 6.0, 18.0):
            x = side * (street.road - float(rng.uniform(0.5, 0.9)))
            rider = riders[int(rng.integers(3))]
            street.things.append(Thing(x, z, 0.9, 0.0, 1.8, rider, BICYCLIST, (0.0, -side * 4.0)))
    for z in _spaced(rng, 8.0, street.length, 15.0, 40.0):
        x = float(rng.uniform(-street.road, street.road)) - 1.5 * duration * float(rng.random())
        street.things.append(Thing(x, z, 1.8, 0.0, 1.8, crossing, BICYCLIST, (3.0, 0.0)))
