"""Configuration folders that a command line adds to this project's, and the files that it chooses of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath

from src.files import read_yaml

CONFIG_FOLDERS = ("--config-dir", "-cd", "--config-path", "-cp")
LONGEST_PATH = 250  # characters of a file's place in them


def check_files(arguments: Sequence[str]) -> None:
    """Reject chosen files of a user's own configuration folders that Hydra would unfold without bound.

    Args:
        arguments: of the command line.

    Raises:
        UserError: such a file, or one that is not YAML.
    """
    given = [argument.partition("=") for argument in arguments if "=" in argument]
    checked: set[Path] = set()
    for folder in config_folders(arguments):
        for key, _, value in given:
            for choice in value.split(","):
                _check_file(Path(folder), _group(key.lstrip("+"), ""), choice, checked)


def config_folders(arguments: Sequence[str]) -> list[str]:
    """Return the configuration folders that a command line adds."""
    folders = [value for option, value in pairwise([*arguments, ""]) if option in CONFIG_FOLDERS]
    given = [argument.partition("=") for argument in arguments if "=" in argument]
    folders += [value for option, _, value in given if option in CONFIG_FOLDERS]
    folders += [
        path.removeprefix("file://")
        for key, _, value in given
        if key == "hydra.searchpath"
        for path in re.split(r"[\[\],'\"\s]+", value)
    ]
    return [folder for folder in folders if folder]


def _check_file(folder: Path, group: str, choice: str, checked: set[Path]) -> None:
    path = folder / group / f"{choice.removesuffix('.yaml')}.yaml"
    if path in checked or len(group) + len(choice) > LONGEST_PATH or not path.is_file():
        return
    checked.add(path)
    content = read_yaml(path)
    defaults = content.get("defaults") if isinstance(content, dict) else None
    for entry in defaults if isinstance(defaults, list) else []:
        for key, value in entry.items() if isinstance(entry, dict) else [(".", entry)]:
            for inner in value if isinstance(value, list) else [value]:
                _check_file(folder, _group(str(key), group), str(inner), checked)


def _group(key: str, above: str) -> str:
    """Return the group that a key of a defaults list names: `override /group@package`, relative to another."""
    name = key.split(" ")[-1].partition("@")[0]
    return name.lstrip("/") if name.startswith("/") else str(PurePath(above) / name)
