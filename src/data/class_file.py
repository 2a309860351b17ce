"""The file that says what the labels of a user's own data mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from src.data.labels import ClassSet, Colour, ColourCoding, IndexCoding, LabelCoding
from src.errors import UserError

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
