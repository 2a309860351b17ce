"""A user's own films and pictures, with a file that says what label values mean.

Below `root`:
    classes.yaml                        names, colours, labels: index or colour, ignore
    SPLIT/pictures/NAME.png (.jpg, ..)  stills, labelled by SPLIT/labels/NAME.png
    SPLIT/films/NAME.mp4 (.mkv, ..)     films; SPLIT/labels/NAME/INDEX.png labels a frame, counted from 0
    SPLIT/films/NAME/*.png              a film as one picture per frame; SPLIT/labels/NAME/PICTURE.png labels one
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from src.data.datasets.base import LabelledDataset, LabelledImage, LabelledVideo
from src.data.datasets.files import ImageFile, ImageSequence, VideoFile, refuse_or_skip
from src.data.images import Normalisation
from src.data.labels import ClassSet, Colour, ColourCoding, IndexCoding, LabelCoding
from src.data.still_animation.layers import SceneRoles
from src.errors import UserError
from src.video.reading.random_access import count_frames

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FILMS = (".mp4", ".mkv", ".mov", ".avi", ".mxf", ".webm", ".m4v", ".ts", ".mpg")


class Folder(LabelledDataset):
    """The data set below `root`.

    Args:
        root: folder with classes.yaml and a folder for each split.
        fps: of films that are coded, frames per second.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.
        on_damage: "stop" at pictures and labels that do not belong together, or "skip" them.

    Raises:
        UserError: no root, or a class file that is missing or wrong.
    """

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
        """Pictures of a split that have a label picture."""
        folder = self._split(split)
        labels = {path.stem: path for path in _with_suffix(folder / "labels", PICTURES)}
        found: list[LabelledImage] = []
        for picture in _with_suffix(folder / "pictures", PICTURES):
            if picture.stem in labels:
                found.append(ImageFile(picture.stem, picture, labels.pop(picture.stem), self.coding))
            else:
                self._odd(f"picture '{picture}' has no labels '{folder / 'labels' / picture.stem}.png'")
        for path in labels.values():
            self._odd(f"label picture '{path}' belongs to no picture in '{folder / 'pictures'}'")
        return found

    def videos(self, split: str) -> list[LabelledVideo]:
        """Films of a split that have labelled frames."""
        folder = self._split(split)
        films = _with_suffix(folder / "films", FILMS)
        pictures = sorted(p for p in (folder / "films").glob("*") if p.is_dir())
        found = [self._film(path, folder) for path in films] + [self._pictures(path, folder) for path in pictures]
        return sorted((s for s in found if self._is_labelled(s)), key=lambda sequence: sequence.name)

    def _film(self, film: Path, folder: Path) -> VideoFile:
        labels = []
        for path in _with_suffix(folder / "labels" / film.stem, PICTURES):
            if path.stem.isdecimal() and int(path.stem) < count_frames(film):
                labels.append((int(path.stem), path))
            else:
                self._odd(f"label picture '{path}' is not named by one of the {count_frames(film)} frames of '{film}'")
        return VideoFile(film.stem, self.fps, tuple(sorted(labels)), self.coding, film)

    def _pictures(self, film: Path, folder: Path) -> ImageSequence:
        pictures = tuple(_with_suffix(film, PICTURES))
        place = {picture.stem: index for index, picture in enumerate(pictures)}
        labels = []
        for path in _with_suffix(folder / "labels" / film.name, PICTURES):
            if path.stem in place:
                labels.append((place[path.stem], path))
            else:
                self._odd(f"label picture '{path}' belongs to no picture in '{film}'")
        return ImageSequence(film.name, self.fps, tuple(sorted(labels)), self.coding, pictures)

    def _is_labelled(self, sequence: VideoFile | ImageSequence) -> bool:
        if not sequence.labels:
            self._odd(f"film '{sequence.name}' has no labelled frame in a folder labels/{sequence.name}/")
        return bool(sequence.labels)

    def _odd(self, what: str) -> None:
        refuse_or_skip(f"{what}; add or remove it, or set data.on_damage=skip", self.on_damage)

    def _split(self, split: str) -> Path:
        folder = self.root / split
        if not (folder / "labels").is_dir():
            raise UserError(f"data.root '{self.root}' has no {split}/labels/; see docs/data.md for the tree")
        return folder


def _with_suffix(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes and path.is_file())


KEYS = {"names", "colours", "labels", "ignore"}
OTHERS = "others"


@dataclass(frozen=True)
class ClassFile:
    """Classes, and how label pictures code them."""

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
    if len(set(names)) < len(names) or len(set(colours)) < len(colours):
        raise UserError(f"'{path}' gives a name or a colour twice; give each class its own")
    return ClassFile(ClassSet(names, colours), _coding(content["labels"], content["ignore"], colours, path))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"class file '{path}' cannot be read ({reason}); write names, colours, labels, ignore"
        ) from None
    if not isinstance(content, dict) or set(content) != KEYS:
        raise UserError(f"class file '{path}' must have the keys {', '.join(sorted(KEYS))} and no others")
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
