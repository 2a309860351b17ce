"""What a data set offers: labelled pictures, and labelled films where it has any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.labels import ClassSet
from src.data.still_animation.layers import SceneRoles

Picture = NDArray[np.uint8]


class Still(ABC):
    """One labelled picture; `name` is unique within a split."""

    name: str

    @abstractmethod
    def read(self) -> tuple[Picture, Picture]:
        """RGB (H, W, 3) and labels (H, W).

        Raises:
            UserError: damaged files, label values out of range, or sizes that differ.
        """

    @abstractmethod
    def identity(self) -> Any:
        """Plain data that changes when the files change; part of the key of prepared clips."""


class Sequence(ABC):
    """A film before encoding; `name` is unique within a split."""

    name: str
    fps: int

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[Picture, Picture | None]]:
        """RGB (H, W, 3) and labels (H, W), None where a frame has none, of frames start..stop - 1 in display order.

        Raises:
            UserError: damaged or missing files, or fewer frames than asked for.
        """

    def labelled(self) -> tuple[int, ...]:
        """Indices of the frames that have labels, ascending."""
        return tuple(range(len(self)))

    @abstractmethod
    def identity(self) -> Any:
        """Plain data that changes when the frames change; part of the key of prepared clips."""

    def makers(self) -> list[ModuleType]:
        """Modules whose code makes the frames, for generated films."""
        return []


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of RGB in 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Source(ABC):
    """A data set on disk, or a generated one.

    Attributes:
        classes: names and palette.
        normalisation: what networks trained on this data set expect.
        roles: what the classes are in space, for films made from stills.
    """

    classes: ClassSet
    normalisation: Normalisation
    roles: SceneRoles = SceneRoles()

    def stills(self, split: str) -> list[Still]:
        """Labelled pictures of a split, sorted by name; empty where there are only films."""
        return []

    def sequences(self, split: str) -> list[Sequence]:
        """Labelled films of a split, sorted by name; empty where there are only stills."""
        return []
