"""Describe what a data set offers: labelled images, labelled videos, or both."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

from src.data.images import ImageArray, Normalisation
from src.data.labels import ClassSet
from src.data.still_animation.layers import SceneRoles
from src.errors import UserError

JOIN = "+"  # between the names of splits that are used as one
INSPECTED = 64  # files of a split that its digest looks at


class LabelledImage(ABC):
    """One labelled image; `name` is unique within a split."""

    name: str

    @abstractmethod
    def read(self) -> tuple[ImageArray, ImageArray]:
        """Read RGB (H, W, 3) and labels (H, W).

        Raises:
            UserError: damaged files, label values out of range, or sizes that differ.
        """

    def read_labels(self) -> ImageArray:
        """Read the labels (H, W) alone; raises what `read` does."""
        return self.read()[1]

    @abstractmethod
    def fingerprint(self) -> Any:
        """Return plain data that changes when the files change; part of the key of prepared clips."""


class LabelledVideo(ABC):
    """A video before encoding; `name` is unique within a split."""

    name: str
    fps: int

    @abstractmethod
    def __len__(self) -> int:
        """Count the frames."""

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """Yield RGB (H, W, 3) and labels (H, W), None where unlabelled, of frames start..stop - 1 in display order.

        Raises:
            UserError: damaged or missing files, or fewer frames than asked for.
        """

    def labelled_frames(self) -> tuple[int, ...]:
        """Return the indices of the frames that have labels, ascending."""
        return tuple(range(len(self)))

    def read_labels(self, index: int) -> ImageArray:
        """Read the labels (H, W) of a labelled frame alone; raises what `frames` does."""
        labels = next(iter(self.frames(index, index + 1)))[1]
        assert labels is not None, f"frame {index} of '{self.name}' is not among its labelled frames"
        return labels

    @abstractmethod
    def fingerprint(self) -> Any:
        """Return plain data that changes when the frames change; part of the key of prepared clips.

        A generated video includes a format number of its generator, to be raised when its output changes.
        """


class LabelledDataset(ABC):
    """A data set on disk, or a generated one. Subclasses override `images`, `videos` or both.

    Attributes:
        classes: names and palette.
        normalisation: what networks trained on this data set expect.
        roles: what the classes are in space, for videos rendered from still images.
        splits: names of the splits that have labels.
        generated: labels are drawn with the frames, so that they need no checking.
        server_values: what the data set's test server calls each class in label PNGs; None where none is known.
        label_remedy: how labels that are wrong as a whole are corrected, for messages.
    """

    classes: ClassSet
    normalisation: Normalisation
    roles: SceneRoles = SceneRoles()
    splits: Sequence[str] = ("train", "val")
    generated: bool = False
    server_values: Sequence[int] | None = None
    label_remedy: str = "correct the label maps"

    def images(self, split: str) -> list[LabelledImage]:
        """List the labelled images of one split, sorted by name; empty where there are only videos."""
        return []

    def videos(self, split: str) -> list[LabelledVideo]:
        """List the labelled videos of one split, sorted by name; empty where there are only still images."""
        return []

    def server_file(self, name: str) -> str:
        """Return the name of the file that its test server takes for an image, or for a clip of a video."""
        raise NotImplementedError


def plain_fields(settings: Any) -> dict[str, Any]:
    """Return the fields of a dataclass for a fingerprint; `asdict` copies them, which is slow at 100,000 clips."""
    return {field.name: getattr(settings, field.name) for field in fields(settings)}


def images_of(dataset: LabelledDataset, split: str) -> list[LabelledImage]:
    """List the labelled images of a split, or of joined ones ("train+val").

    Raises:
        UserError: a split that the data set does not have.
    """
    return [image for name in split_names(dataset, split) for image in dataset.images(name)]


def videos_of(dataset: LabelledDataset, split: str) -> list[LabelledVideo]:
    """List the labelled videos of a split, or of joined ones ("train+val").

    Raises:
        UserError: a split that the data set does not have.
    """
    return [video for name in split_names(dataset, split) for video in dataset.videos(name)]


def digest_of(dataset: LabelledDataset, split: str) -> str | None:
    """Digest the names of all images and videos of a split and some of their files, wherever these lie.

    Returns:
        None where the data set lists none; of images and videos, those that it cannot list are left out.
    """
    items: list[LabelledImage | LabelledVideo] = []
    for listed in (images_of, videos_of):
        with suppress(UserError):  # Cityscapes without snippets: who needs them has the message already
            items += listed(dataset, split)
    inspected = items[:: max(1, len(items) // INSPECTED)]
    content = [[item.name for item in items], [item.fingerprint() for item in inspected]]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:24] if items else None


def split_names(dataset: LabelledDataset, split: str) -> list[str]:
    """Separate the names of joined splits.

    Raises:
        UserError: a split that the data set does not have, or one that is named twice.
    """
    names, known = split.split(JOIN), list(dataset.splits)
    for name in names:
        if name not in known:
            has = ", ".join(known) or "no labels"
            raise UserError(f"split '{name}' is unknown, the data set has {has}; give one, or several joined by {JOIN}")
    if len(set(names)) < len(names):
        raise UserError(f"split '{split}' names a split twice; name each once")
    return names
