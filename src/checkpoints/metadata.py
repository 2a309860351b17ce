"""Metadata of a checkpoint's network: plain data, checked value by value, of which nothing is executed.

A file is refused where a value is of another kind than the format has there, and where the arguments of its network
contain what a configuration system would resolve or call. No path in a file decides what is read or written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from src.errors import UserError

FORMAT = 2  # 1: the card of class paths that `src.checkpoints.cards` reads
KEY = "metadata"  # in the file
CODECS = ("h264", "mpeg4", "hevc")
MOTIONS = ("exact", "estimate", "auto")
LARGEST = 16384  # of whole numbers among a network's arguments: widths, counts, sizes
MOST_CLASSES = 65536
MOST_VALUES = 2000  # in a network's arguments or a data set's options
DEEPEST = 12  # nesting of them
LONGEST = 4096  # characters of a text
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")  # no control characters, which a terminal would obey
NAME = re.compile(r"[\w.+-]{1,80}")
CHOICE = re.compile(r"\w[\w-]{0,79}")  # of a configuration group; no dots, so that it is no value's place
GROUP = re.compile(r"data/[a-z]\w*(/[a-z]\w*)*(@data(\.[a-z]\w*)*)?")  # below `data` only; no `_target_`


class _Wrong(ValueError):
    """A value that the format does not allow."""


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
        return _checked(given)
    except _Wrong as error:
        raise UserError(
            f"checkpoint '{path}' is refused: {error}; give a .ckpt file written by src.train or src.convert"
        ) from error


def check_network(given: Any) -> dict[str, Any]:
    """Copy a network's name and arguments, if they are plain data of reasonable sizes.

    Raises:
        ValueError: they are not.
    """
    network = _mapping(given, "network", ("name", "arguments"))
    counted = [0]
    arguments = _plain(network["arguments"], "network.arguments", 0, counted, strict=True)
    if not isinstance(arguments, dict):
        raise _Wrong("network.arguments is not a mapping")
    return {"name": _text(network["name"], "network.name", NAME), "arguments": arguments}


def data_options(value: Any) -> Any:
    """Copy a data configuration without what names code, refers to other values, or is a path or an address."""
    if isinstance(value, Mapping):
        kept = {k: data_options(v) for k, v in value.items() if isinstance(k, str) and not k.startswith("_")}
        return {key: inner for key, inner in kept.items() if not isinstance(inner, str)}
    return list(value) if isinstance(value, (list, tuple)) else value


def _checked(given: Any) -> dict[str, Any]:
    found = _mapping(given, KEY, ("format", "network", "phase", "classes", "normalisation", "video", "seed"))
    if found["format"] != FORMAT or isinstance(found["format"], bool):
        raise _Wrong(f"its format {_shown(found['format'])} is not {FORMAT}, it is of another version")
    config = found.get("config") or {}
    if not isinstance(config, dict):
        raise _Wrong("its config is not a mapping")
    return {
        "format": FORMAT,
        "network": check_network(found["network"]),
        "phase": _text(found["phase"], "phase", NAME),
        "lr_scale": _number(found.get("lr_scale", 1.0), "lr_scale", 1e-3, 1),
        "classes": _classes(found["classes"]),
        "normalisation": _normalisation(found["normalisation"]),
        "fit": _fit(found.get("fit")),
        "video": _video(found["video"]),
        "seed": _whole(found["seed"], "seed", 0, 2**63),
        "data": _data(found.get("data")),
        "config": config,
        "source": _plain(found.get("source"), "source", 0, [0], strict=False),
    }


def _classes(given: Any) -> dict[str, Any]:
    classes = _mapping(given, "classes", ("names", "palette"))
    names, palette = (_list(classes[key], f"classes.{key}", 1, MOST_CLASSES) for key in ("names", "palette"))
    if len(names) != len(palette):
        raise _Wrong(f"classes has {len(names)} names and {len(palette)} colours")
    return {
        "names": [_text(name, "classes.names", PRINTABLE) for name in names],
        "palette": [
            [_whole(v, "classes.palette", 0, 255) for v in _list(colour, "classes.palette", 3, 3)] for colour in palette
        ],
    }


def _normalisation(given: Any) -> dict[str, Any]:
    found = _mapping(given, "normalisation", ("mean", "std"))
    lowest = {"mean": -10.0, "std": 1e-6}
    return {
        key: [_number(v, f"normalisation.{key}", low, 10) for v in _list(found[key], f"normalisation.{key}", 3, 3)]
        for key, low in lowest.items()
    }


def _fit(given: Any) -> dict[str, int] | None:
    if given is None:
        return None
    fit = _mapping(given, "fit", ("short", "long"))
    return {key: _whole(fit[key], f"fit.{key}", 1, LARGEST) for key in ("short", "long")}


def _video(given: Any) -> dict[str, Any]:
    video = _mapping(given, "video", ("codec", "gop", "motion"))
    crf, bitrate, preset = (video.get(key) for key in ("crf", "bitrate", "preset"))
    return {
        "codec": _choice(video["codec"], "video.codec", CODECS),
        "gop": _whole(video["gop"], "video.gop", 1, 100_000),
        "crf": None if crf is None else _number(crf, "video.crf", 0, 63),
        "bitrate": None if bitrate is None else _number(bitrate, "video.bitrate", 1, 10_000_000),
        "preset": None if preset is None else _text(preset, "video.preset", NAME),
        "motion": _choice(video["motion"], "video.motion", MOTIONS),
    }


def _data(given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    data = _mapping(given, "data", ("name", "options"))
    groups = data.get("groups") or {}
    if not isinstance(groups, dict) or len(groups) > 20:
        raise _Wrong("data.groups is not a mapping of configuration groups")
    options = _plain(data["options"], "data.options", 0, [0], strict=False)
    if not isinstance(options, dict):
        raise _Wrong("data.options is not a mapping")
    return {
        "name": _text(data["name"], "data.name", CHOICE),
        "groups": {_text(k, "data.groups", GROUP): _text(v, "data.groups", CHOICE) for k, v in groups.items()},
        "options": options,
    }


def _plain(value: Any, place: str, depth: int, counted: list[int], strict: bool) -> Any:
    """Copy nested plain data; `strict`: nothing in it may look like what a configuration resolves or calls."""
    counted[0] += 1
    if counted[0] > MOST_VALUES or depth > DEEPEST:
        raise _Wrong(f"{place} is larger than any of this project")
    if isinstance(value, dict):
        for key in value:
            _text(key, place)
            if strict and key.startswith("_"):
                raise _Wrong(f"{place} contains '{_shown(key)}', which names code to call")
        return {key: _plain(inner, f"{place}.{key}", depth + 1, counted, strict) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, place, depth + 1, counted, strict) for inner in value]
    if isinstance(value, str):
        text = _text(value, place)
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


def _mapping(value: Any, place: str, needed: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{place} is not a mapping")
    missing = [key for key in needed if key not in value]
    if missing:
        raise _Wrong(f"{place} lacks {', '.join(missing)}")
    return value


def _list(value: Any, place: str, least: int, most: int) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not least <= len(value) <= most:
        raise _Wrong(f"{place} is not a list of {least} to {most} values")
    return list(value)


def _number(value: Any, place: str, low: float, high: float) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise _Wrong(f"{place}={_shown(value)} is not a number from {low} to {high}")
    return value


def _whole(value: Any, place: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _Wrong(f"{place}={_shown(value)} is not a whole number from {low} to {high}")
    return value


def _choice(value: Any, place: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise _Wrong(f"{place}={_shown(value)} is not one of {', '.join(choices)}")
    return str(value)


def _text(value: Any, place: str, form: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or len(value) > LONGEST or (form is not None and not form.fullmatch(value)):
        raise _Wrong(f"{place}={_shown(value)} is not a {'text' if form is None else 'name'}")
    return value


def _shown(value: Any) -> str:
    """One short line, whatever the file holds."""
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to print very long ones
        return f"a number of {value.bit_length()} bits"
    return repr(value)[:60] if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
