"""Metadata of a checkpoint's network: plain data, checked value by value, of which nothing is executed.

A file is rejected where a value is of another kind than the format has there, and where the arguments of its network
contain what a configuration system would resolve or call. No path in a file decides what is read or written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from src.errors import UserError

FORMAT = 2  # 1: the card of class paths that `src.checkpoints.cards` reads
KEY = "metadata"  # in the file
PREFIX = "net."  # of the network's tensors in its state dict
CODECS = ("h264", "mpeg4", "hevc")
MOTIONS = ("exact", "estimate", "auto")
LARGEST = 16384  # of whole numbers among a network's arguments: widths, counts, sizes
MOST_CLASSES = 65536
MOST_VALUES = 2000  # in a network's arguments or a data set's options
DEEPEST = 12  # nesting of them
LONGEST = 4096  # characters of a text
PRINTABLE = re.compile(
    r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}"
)  # no control characters, which a terminal would obey
NAME = re.compile(r"[\w.+-]{1,80}")
CHOICE = re.compile(r"\w[\w-]{0,79}")  # of a configuration group; no dots, so that it is no value's place
GROUP = re.compile(r"data/[a-z]\w*(/[a-z]\w*)*(@data(\.[a-z]\w*)*)?")  # below `data` only; no `_target_`


Rule = Callable[[Any, str], Any]  # a value and its place -> the value, copied, or `_Wrong`


class _Wrong(ValueError):
    """A value that the format does not allow."""


@dataclass(frozen=True)
class _Optional:
    """A value that may be missing or None, or else follows a rule."""

    rule: Rule
    default: Any = None

    def __call__(self, value: Any, place: str) -> Any:
        return self.default if value is None else self.rule(value, place)


def _group(**rules: Rule) -> Rule:
    """Build the rule of a mapping; keys that have no rule are dropped."""

    def check(value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Wrong(f"{place} is not a mapping")
        missing = [key for key, rule in rules.items() if key not in value and not isinstance(rule, _Optional)]
        if missing:
            raise _Wrong(f"{place} lacks {', '.join(missing)}")
        above = "" if place == KEY else f"{place}."
        return {key: rule(value.get(key), f"{above}{key}") for key, rule in rules.items()}

    return check


def _mapping(name: Rule, rule: Rule, most: int) -> Rule:
    """Build the rule of a mapping whose keys are not known."""

    def check(value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > most:
            raise _Wrong(f"{place} is not a mapping of at most {most} values")
        return {name(key, place): rule(inner, place) for key, inner in value.items()}

    return check


def _list(rule: Rule, least: int, most: int) -> Rule:
    def check(value: Any, place: str) -> list[Any]:
        if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
            raise _Wrong(f"{place} is not a list of {least} to {most} values")
        return [rule(inner, place) for inner in value]

    return check


def _number(low: float, high: float, kind: Any = (int, float)) -> Rule:
    def check(value: Any, place: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            name = "whole number" if kind is int else "number"
            raise _Wrong(f"{place}={_shown(value)} is not a {name} from {low} to {high}")
        return value

    return check


def _whole(low: int, high: int) -> Rule:
    return _number(low, high, int)


def _choice(*choices: Any) -> Rule:
    def check(value: Any, place: str) -> Any:
        if not isinstance(value, type(choices[0])) or isinstance(value, bool) or value not in choices:
            raise _Wrong(f"{place}={_shown(value)} is not one of {', '.join(map(str, choices))}")
        return value

    return check


def _text(form: re.Pattern[str] | None = None) -> Rule:
    def check(value: Any, place: str) -> str:
        if not isinstance(value, str) or len(value) > LONGEST or (form is not None and not form.fullmatch(value)):
            raise _Wrong(f"{place}={_shown(value)} is not a {'text' if form is None else 'name'}")
        return value

    return check


def _plain(strict: bool, kinds: type | tuple[type, ...] = object) -> Rule:
    """Build the rule of nested plain data; `strict`: without names of code to call, and with numbers of a network."""

    def check(value: Any, place: str) -> Any:
        if not isinstance(value, kinds):
            raise _Wrong(f"{place} is not a mapping")
        return _copied(value, place, 0, [0], strict)

    return check


def _classes(value: Any, place: str) -> dict[str, Any]:
    colour = _list(_whole(0, 255), 3, 3)
    rule = _group(names=_list(_text(PRINTABLE), 1, MOST_CLASSES), palette=_list(colour, 1, MOST_CLASSES))
    classes: dict[str, Any] = rule(value, place)
    if len(classes["names"]) != len(classes["palette"]):
        raise _Wrong(f"{place} has {len(classes['names'])} names and {len(classes['palette'])} colours in its palette")
    return classes


def _any_mapping(value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _Wrong(f"{place} is not a mapping")
    return value


METADATA = _group(
    format=_choice(FORMAT),
    network=_group(name=_text(NAME), arguments=_plain(True, dict)),
    phase=_text(NAME),
    lr_scale=_Optional(_number(1e-3, 1), 1.0),
    classes=_classes,
    normalisation=_group(mean=_list(_number(-10, 10), 3, 3), std=_list(_number(1e-3, 10), 3, 3)),
    fit=_Optional(_group(short=_whole(1, LARGEST), long=_whole(1, LARGEST))),
    video=_group(
        codec=_choice(*CODECS),
        gop=_whole(1, 100_000),
        crf=_Optional(_number(0, 63)),
        bitrate=_Optional(_number(1, 10_000_000)),
        preset=_Optional(_text(NAME)),
        motion=_choice(*MOTIONS),
    ),
    seed=_whole(0, 2**63),
    data=_Optional(
        _group(
            name=_text(CHOICE),
            groups=_Optional(_mapping(_text(GROUP), _text(CHOICE), 20), {}),
            options=_plain(False, dict),
        )
    ),
    config=_Optional(_any_mapping, {}),  # for people: nothing reads it
    source=_Optional(_plain(False)),
)


def check_metadata(given: Any, path: str) -> dict[str, Any]:
    """Reject metadata that this project does not write; what is known of it, as plain Python.

    Args:
        given: from the file.
        path: of the file, for messages.

    Returns:
        `format`, `network` {name, arguments}, `phase`, `lr_scale`, `classes` {names, palette}, `normalisation`
        {mean, std}, `fit` {short, long} or None, `video` {codec, gop, crf, bitrate, preset, motion}, `seed`,
        `data` {name, groups, options} or None, `config` (the resolved configuration, for people) and `source`.

    Raises:
        UserError: a missing value, or one of another kind, out of range or too large.
    """
    try:
        checked: dict[str, Any] = METADATA(given, KEY)
    except _Wrong as error:
        raise UserError(
            f"checkpoint '{path}' is rejected: {str(error)[:400]}; give a .ckpt file written by src.train or "
            "src.convert"
        ) from error
    return checked


def data_options(value: Any) -> Any:
    """Copy a data configuration without what names code, refers to other values, or is a path or an address."""
    if isinstance(value, Mapping):
        kept = {k: data_options(v) for k, v in value.items() if isinstance(k, str) and not k.startswith("_")}
        return {key: inner for key, inner in kept.items() if not _is_text(inner)}
    return list(value) if isinstance(value, (list, tuple)) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(isinstance(inner, str) for inner in value))


def without_paths(value: Any) -> Any:
    """Copy nested plain data with the last part of each absolute path: where files were is of no use elsewhere."""
    if isinstance(value, Mapping):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(inner) for inner in value]
    return PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value


def _copied(value: Any, place: str, depth: int, counted: list[int], strict: bool) -> Any:
    counted[0] += 1
    if counted[0] > MOST_VALUES or depth > DEEPEST:
        raise _Wrong(f"{place} is larger than any of this project")
    if isinstance(value, dict):
        for key in value:
            _text(PRINTABLE)(key, place)
            if strict and key.startswith("_"):
                raise _Wrong(f"{place} contains '{_shown(key)}', which names code to call")
        return {key: _copied(inner, f"{place}.{key}", depth + 1, counted, strict) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(inner, place, depth + 1, counted, strict) for inner in value]
    if isinstance(value, str):
        text = _text()(value, place)
        if "${" in text:
            raise _Wrong(f"{place} contains an interpolation '{_shown(text)}'")
        return text
    if isinstance(value, float) and not math.isfinite(value):
        raise _Wrong(f"{place} is {value}, not a number")
    if isinstance(value, int) and abs(value) > (LARGEST if strict else 2**63):
        raise _Wrong(f"{place} is larger than any of this project")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise _Wrong(f"{place} holds a {type(value).__name__}, which is no plain data")


def _shown(value: Any) -> str:
    """One short line, whatever the file holds."""
    if isinstance(value, int) and value.bit_length() > 64:  # Python does not print very long ones
        return f"a number of {value.bit_length()} bits"
    return repr(value)[:60] if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
