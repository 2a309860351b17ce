"""What a data set offers: labelled pictures, and labelled films where it has any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from src.data.images import ImageArray, Normalisation
from src.data.labels import ClassSet
from src.data.still_animation.layers import SceneRoles


class LabelledImage(ABC):
    """One labelled picture; `name` is unique within a split."""

    name: str

    @abstractmethod
    def read(self) -> tuple[ImageArray, ImageArray]:
        """RGB (H, W, 3) and labels (H, W).

        Raises:
            UserError: damaged files, label values out of range, or sizes that differ.
        """

    @abstractmethod
    def fingerprint(self) -> Any:
        """Plain data that changes when the files change; part of the key of prepared clips."""


class LabelledVideo(ABC):
    """A film before encoding; `name` is unique within a split."""

    name: str
    fps: int

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """RGB (H, W, 3) and labels (H, W), None where a frame has none, of frames start..stop - 1 in display order.

        Raises:
            UserError: damaged or missing files, or fewer frames than asked for.
        """

    def labelled_frames(self) -> tuple[int, ...]:
        """Indices of the frames that have labels, ascending."""
        return tuple(range(len(self)))

    @abstractmethod
    def fingerprint(self) -> Any:
        """Plain data that changes when the frames change; part of the key of prepared clips."""

    def makers(self) -> list[ModuleType]:
        """Modules whose code makes the frames, for generated films."""
        return []


class LabelledDataset(ABC):
    """A data set on disk, or a generated one.

    Attributes:
        classes: names and palette.
        normalisation: what networks trained on this data set expect.
        roles: what the classes are in space, for films made from stills.
    """

    classes: ClassSet
    normalisation: Normalisation
    roles: SceneRoles = SceneRoles()

    def images(self, split: str) -> list[LabelledImage]:
        """Labelled pictures of a split, sorted by name; empty where there are only films."""
        return []

    def videos(self, split: str) -> list[LabelledVideo]:
        """Labelled films of a split, sorted by name; empty where there are only stills."""
        return []
