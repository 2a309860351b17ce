"""A user's own videos and images, with a file that describes the label values.

Below `root`:
    classes.yaml                        names, colours, labels: index or colour, ignore
    SPLIT/pictures/NAME.png (.jpg, ..)  still images, labelled by SPLIT/labels/NAME.png
    SPLIT/films/NAME.mp4 (.mkv, ..)     videos; SPLIT/labels/NAME/INDEX.png labels a frame, counted from 0
    SPLIT/films/NAME/*.png              a video as one image per frame; SPLIT/labels/NAME/FILE.png labels one
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.data.datasets.base import LabelledDataset, LabelledImage, LabelledVideo
from src.data.datasets.files import ImageFile, ImageSequence, VideoFile, reject_or_skip
from src.data.images import Normalisation
from src.data.labels import IGNORE, ClassSet, Colour, ColourCoding, IndexCoding, LabelCoding
from src.data.still_animation.layers import SceneRoles
from src.errors import UserError
from src.files import read_yaml, visible
from src.video.reading.random_access import count_frames
from src.video.vectors import vector_file

log = logging.getLogger(__name__)

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".mxf", ".webm", ".m4v", ".ts", ".mpg")


class Folder(LabelledDataset):
    """The data set below `root`.

    Args:
        root: folder with classes.yaml and a folder for each split.
        fps: of videos that are coded, frames per second.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.
        on_damage: "stop" at images and labels that do not belong together, or "skip" them.

    Raises:
        UserError: no root, or a class file that is missing or wrong.
    """

    label_remedy = (
        "correct the label maps, or labels and ignore in classes.yaml; masks of 0 and 255 are read by labels: colour "
        "with the colours [0, 0, 0] and [255, 255, 255]"
    )

    def __init__(self, root: str | None, fps: int, mean: list[float], std: list[float], on_damage: str) -> None:
        if root is None:
            raise UserError("data.root is not set; give data.root=PATH of the folder with classes.yaml")
        self.root, self.fps, self.on_damage = Path(root), fps, on_damage
        described: ClassFile = read_class_file(self.root / "classes.yaml")
        self.classes, self.coding = described.classes, described.coding
        self.splits = tuple(sorted(path.parent.name for path in self.root.glob("*/labels") if path.is_dir()))
        self.roles = SceneRoles(sky=(), ground=(), thin=(), moving=tuple(range(len(self.classes))))
        self.normalisation = Normalisation.of(mean, std)

    def images(self, split: str) -> list[LabelledImage]:
        """Images of a split that have a label map."""
        folder = self._split(split)
        labels = {path.stem: path for path in _with_suffix(folder / "labels", IMAGES)}
        found: list[LabelledImage] = []
        for image in _known(folder / "pictures", IMAGES):
            if image.stem in labels:
                found.append(ImageFile(image.stem, image, labels.pop(image.stem), self.coding))
            else:
                self._odd(f"image '{image}' has no labels '{folder / 'labels' / image.stem}.png'")
        for path in labels.values():
            self._odd(f"label map '{path}' belongs to no image in '{split}/pictures'")
        return found

    def videos(self, split: str) -> list[LabelledVideo]:
        """Videos of a split that have labelled frames."""
        folder = self._split(split)
        place = folder / "films"
        videos = _known(place, VIDEOS)
        images = [path for path in visible(place) if path.is_dir()]
        names = {video.stem for video in videos} | {video.name for video in images}
        for labels in visible(folder / "labels"):
            if labels.is_dir() and labels.name not in names:
                kinds = f"a folder of images or a file of {', '.join(VIDEOS)}"
                self._odd(f"labels '{labels}' belong to no video in '{place}', which is {kinds}")
        found = [self._video(path, folder) for path in videos] + [self._images(path, folder) for path in images]
        return sorted((s for s in found if s is not None and self._is_labelled(s)), key=lambda sequence: sequence.name)

    def _video(self, video: Path, folder: Path) -> VideoFile | None:
        labels = []
        maps = _with_suffix(folder / "labels" / video.stem, IMAGES)
        try:
            count = count_frames(video) if maps else 0
        except UserError as error:
            reject_or_skip(str(error), self.on_damage)
            return None
        for path in maps:
            if path.stem.isdecimal() and int(path.stem) < count:
                labels.append((int(path.stem), path))
            else:
                self._odd(f"label map '{path}' is not named by one of the {count} frames of '{video}'")
        return VideoFile(video.stem, self.fps, tuple(sorted(labels)), self.coding, video)

    def _images(self, video: Path, folder: Path) -> ImageSequence:
        images = tuple(_with_suffix(video, IMAGES))
        place = {image.stem: index for index, image in enumerate(images)}
        labels = []
        for path in _with_suffix(folder / "labels" / video.name, IMAGES):
            if path.stem in place:
                labels.append((place[path.stem], path))
            else:
                self._odd(f"label map '{path}' belongs to no image in '{video}'")
        return ImageSequence(video.name, self.fps, tuple(sorted(labels)), self.coding, images)

    def _is_labelled(self, sequence: VideoFile | ImageSequence) -> bool:
        if not sequence.labels:
            self._odd(f"video '{sequence.name}' has no labelled frame in a folder labels/{sequence.name}/")
        return bool(sequence.labels)

    def _odd(self, what: str) -> None:
        reject_or_skip(f"{what}; add or remove it, or set data.on_damage=skip", self.on_damage)

    def _split(self, split: str) -> Path:
        folder = self.root / split
        if not (folder / "labels").is_dir():
            raise UserError(f"data.root '{self.root}' has no {split}/labels/; see docs/data.md for the tree")
        return folder


def _with_suffix(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in visible(folder) if path.suffix.lower() in suffixes and path.is_file()]


def _known(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a folder that are read; the others are warned of."""
    known = _with_suffix(folder, suffixes)
    unknown = {path for path in visible(folder) if path.is_file() and not path.name.endswith(vector_file.SUFFIX)} - set(
        known
    )
    if unknown:
        _warn_of_unread(min(unknown), len(unknown), suffixes)
    return known


@cache
def _warn_of_unread(first: Path, count: int, suffixes: tuple[str, ...]) -> None:
    """Warn once in a process."""
    log.warning("%d files such as '%s' are not read; only %s are", count, first, ", ".join(suffixes))


KEYS = {"names", "colours", "labels", "ignore"}
OTHERS = "others"
LONGEST_NAME = 200  # characters


@dataclass(frozen=True)
class ClassFile:
    """Classes, and how label maps code them."""

    classes: ClassSet
    coding: LabelCoding


def read_class_file(path: Path) -> ClassFile:
    """A YAML file with the keys names (list), colours (list of [red, green, blue]), labels and ignore.

    labels: "index", the value of a pixel is the position of its class, or "colour". ignore: a list of values or of
    colours, or "others" for all that no class has.

    Raises:
        UserError: no such file, or what it says is incomplete or contradicts itself.
    """
    content = _read(path)
    names = tuple(str(name) for name in content["names"])
    colours = tuple(_colour(colour, path) for colour in content["colours"])
    if len(names) != len(colours) or not names:
        raise UserError(f"'{path}' gives {len(names)} names and {len(colours)} colours; give one colour for each name")
    if len(names) > IGNORE:
        raise UserError(
            f"'{path}' gives {len(names)} classes; give at most {IGNORE}, as many as label maps of 8 bits hold"
        )
    wrong = [name for name in names if not name.isprintable() or not 1 <= len(name) <= LONGEST_NAME]
    if wrong:
        raise UserError(f"'{path}' has the name {ascii(wrong[0])[:80]}; give names of 1 to {LONGEST_NAME} characters")
    if len(set(names)) < len(names) or len(set(colours)) < len(colours):
        raise UserError(f"'{path}' gives a name or a colour twice; give each class its own")
    return ClassFile(ClassSet(names, colours), _coding(content["labels"], content["ignore"], colours, path))


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict) or set(content) != KEYS:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else "none"
        raise UserError(f"class file '{path}' has the keys {found}; give {', '.join(sorted(KEYS))} and no others")
    for key in ("names", "colours"):
        if not isinstance(content[key], list):
            raise UserError(f"'{key}' in '{path}' is not a list; give one entry per class")
    return content


def _coding(labels: Any, ignore: Any, colours: tuple[Colour, ...], path: Path) -> LabelCoding:
    if labels not in ("index", "colour"):
        raise UserError(f"'labels: {labels}' in '{path}' is not index or colour; choose one of these")
    if ignore != OTHERS and not isinstance(ignore, list):
        raise UserError(f"'ignore: {ignore}' in '{path}' is neither a list nor '{OTHERS}'; give one of these")
    if labels == "colour":
        ignored = None if ignore == OTHERS else tuple(_colour(colour, path) for colour in ignore)
        return ColourCoding(tuple((colour, index) for index, colour in enumerate(colours)), ignored)
    values = range(len(colours), 256) if ignore == OTHERS else ignore
    wrong = [v for v in values if not isinstance(v, int) or not len(colours) <= v <= 255]
    if wrong:
        raise UserError(f"'ignore' in '{path}' has {wrong[0]}; give index values from {len(colours)} to 255")
    return IndexCoding(tuple((index, index) for index in range(len(colours))), tuple(values))


def _colour(given: Any, path: Path) -> Colour:
    if not isinstance(given, list) or len(given) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in given):
        raise UserError(f"'{given}' in '{path}' is not a colour; give [red, green, blue] with values 0..255")
    return given[0], given[1], given[2]
