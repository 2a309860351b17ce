"""Code and commands as they stand in README.md and docs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.configs import ROOT

BLOCK = re.compile(
    r"(?:<!-- (?P<mark>file: (?P<path>\S+)|run) -->\n)?```(?P<language>\w*)\n(?P<content>.*?)```", re.DOTALL
)


def files(document: str) -> dict[str, str]:
    """Content of the blocks that a comment names a file for, by its path."""
    return {found["path"]: found["content"] for found in _blocks(document) if found["path"]}


def commands(document: str) -> list[list[str]]:
    """Arguments of each command that is marked to be run, in order."""
    lines = [line for found in _blocks(document) if found["mark"] == "run" for line in found["content"].splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def first_python(document: str) -> str:
    """The first block of Python."""
    return next(found["content"] for found in _blocks(document) if found["language"] == "python")


def _blocks(document: str) -> list[re.Match[str]]:
    return list(BLOCK.finditer((ROOT / document).read_text()))


def links(path: Path) -> list[str]:
    """Targets of the links of a document."""
    return re.findall(r"\]\(([^)\s]+)\)", path.read_text())
