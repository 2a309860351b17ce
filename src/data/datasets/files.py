"""Labelled images and videos of a data set on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from src.data.datasets.base import LabelledImage, LabelledVideo, plain_fields
from src.data.images import ImageArray, read_image
from src.data.labels import LabelCoding
from src.errors import UserError
from src.video.reading.random_access import count_frames, read_frames

FORMAT = 2  # raise when the same files give other frames or labels (reading of images, videos, label values)

LabelFiles = tuple[tuple[int, Path], ...]  # by index of the frame


@dataclass(frozen=True)
class ImageFile(LabelledImage):
    """An image and its label map."""

    name: str
    image: Path
    labels: Path
    coding: LabelCoding

    def read(self) -> tuple[ImageArray, ImageArray]:
        """RGB (H, W, 3) and labels (H, W)."""
        image, labels = read_image(self.image), self.coding.read(self.labels)
        _check_size(self.labels, labels, self.image, image)
        return image, labels

    def read_labels(self) -> ImageArray:
        """Labels (H, W)."""
        return self.coding.read(self.labels)

    def fingerprint(self) -> Any:
        """The two files and what label values mean."""
        return [FORMAT, file_fingerprint(self.image), file_fingerprint(self.labels), plain_fields(self.coding)]


@dataclass(frozen=True)
class StoredVideo(LabelledVideo):
    """Frames on disk with label maps of some of them."""

    name: str
    fps: int
    labels: LabelFiles
    coding: LabelCoding

    def labelled_frames(self) -> tuple[int, ...]:
        """Indices of the frames that have a label map."""
        return tuple(index for index, _ in self.labels)

    def read_labels(self, index: int) -> ImageArray:
        """Labels (H, W) of a labelled frame."""
        return self.coding.read(dict(self.labels)[index])

    def fingerprint(self) -> Any:
        """All files, and what label values mean; they are looked at once."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> Any:
        label_files = [[index, file_fingerprint(path)] for index, path in self.labels]
        return [FORMAT, self.fps, self._frame_files(), label_files, plain_fields(self.coding)]

    def _frame_files(self) -> Any:
        raise NotImplementedError

    def _labels_of(self, index: int, image: ImageArray) -> ImageArray | None:
        path = dict(self.labels).get(index)
        if path is None:
            return None
        labels = self.coding.read(path)
        _check_size(path, labels, f"frame {index} of '{self.name}'", image)
        return labels


@dataclass(frozen=True)
class ImageSequence(StoredVideo):
    """A video that lies on disk as one image per frame."""

    images: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.images)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """Images, all of one size, with their labels."""
        first: ImageArray | None = None
        for index in range(start, len(self) if stop is None else stop):
            image = read_image(self.images[index])
            first = image if first is None else first
            _check_size(self.images[index], image, self.images[start], first)
            yield image, self._labels_of(index, image)

    def _frame_files(self) -> Any:
        return [file_fingerprint(path) for path in self.images]


@dataclass(frozen=True)
class VideoFile(StoredVideo):
    """A video file whose frames are found by index, whatever its codec."""

    video: Path

    def __len__(self) -> int:
        return count_frames(self.video)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """Decoded frames with their labels."""
        for index, image in enumerate(read_frames(self.video, start, stop), start=start):
            yield image, self._labels_of(index, image)

    def _frame_files(self) -> Any:
        return file_fingerprint(self.video)


def file_fingerprint(path: Path) -> Any:
    """Name, size and whole seconds of the modification time, which archives and copies keep.

    Raises:
        UserError: no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); unpack the data set completely") from error
    return [path.name, status.st_size, int(status.st_mtime)]


def _check_size(path: Path, image: ImageArray, other: Path | str, expected: ImageArray) -> None:
    if image.shape[:2] != expected.shape[:2]:
        (height, width), (tall, wide) = image.shape[:2], expected.shape[:2]
        shown = f"'{other}'" if isinstance(other, Path) else other
        raise UserError(f"'{path}' is {width}x{height}, {shown} is {wide}x{tall}; both must have one size, replace one")


POLICIES = ("stop", "skip")

log = logging.getLogger(__name__)


def reject_or_skip(message: str, policy: str) -> None:
    """Warn under "skip".

    Raises:
        UserError: under "stop".
    """
    if policy == "skip":
        log.warning("left out: %s", message)
    else:
        raise UserError(message)
