"""Compose every command line that documents, help texts and configuration files show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from src.cli.arguments import readable
from src.cli.config import check_keys
from tests.support.configs import CONF, ROOT

pytestmark = pytest.mark.slow

COMMAND = re.compile(r"(?:python -m src\.|\bvss-)(\w+)((?: .*)?)")
WORD = re.compile(r"'[^']*'|[^\s\"]+")
ARGUMENT = re.compile(r"[~+]{0,2}[\w./@-]+=\S+")
VALUES = {  # what stands for a value that the reader chooses
    "experiment=NAME": "experiment=arseg_street",
    "data=NAME": "data=street",
    "model=NAME": "model=arseg",
    "network=NAME": "network=pspnet18",
    "input.height=H": "input.height=64",
    "input.width=W": "input.width=64",
    "video.gop=N": "video.gop=6",
}


def pieces(path: Path) -> Iterator[str]:
    """Texts of a file, each with at most one command."""
    text = path.read_text()
    if path.suffix == ".md":
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield from block.replace("\\\n", " ").splitlines()
        text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        yield from (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", text))
    else:
        yield from text.splitlines()


def arguments(text: str) -> list[str]:
    """Overrides up to the first word that is none."""
    found = []
    for word in WORD.findall(text):
        word = word.strip("'").rstrip(".,;:")
        word = word if word.count("(") == word.count(")") else word.rstrip(")")
        if word.startswith("--"):
            continue
        if not ARGUMENT.fullmatch(word):
            break
        if not word.startswith("KEY="):
            found.append(VALUES.get(word, word))
    return found


def documented() -> dict[str, tuple[str, list[str]]]:
    """Command lines by the place that shows them first."""
    found: dict[str, tuple[str, list[str]]] = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(CONF.rglob("*.yaml"))):
        for text in pieces(path):
            for name, rest in COMMAND.findall(text):
                if "--config-dir" in rest:  # configuration of the reader's own: tests/integration/test_documents.py
                    continue
                line = " ".join([name, *arguments(rest)])
                if line not in {shown.split(": ", 1)[1] for shown in found}:
                    found[f"{path.relative_to(ROOT)}: {line}"] = (name, arguments(rest))
    return found


COMMANDS = documented()


def first_values(overrides: list[str]) -> list[str]:
    """The first job of a sweep."""
    chosen = []
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        if override.is_choice_sweep():
            chosen.append(f"{override.input_line.split('=')[0]}={next(iter(override.sweep_string_iterator()))}")
        elif override.is_sweep_override():
            chosen.append(f"{override.input_line.split('=')[0]}={override.value().start}")
        else:
            chosen.append(text)
    return chosen


def test_commands_are_found() -> None:
    assert arguments(" --multirun 'a.b=interval(1,2)' data=NAME video.gop=2. Not c=3") == [
        "a.b=interval(1,2)", "data=street", "video.gop=2",
    ]  # fmt: skip
    assert {name for name, _ in COMMANDS.values()} >= {"train", "eval", "predict", "benchmark", "motion", "report"}
    assert sum(place.startswith("README.md") for place in COMMANDS) >= 8


@pytest.mark.parametrize("place", COMMANDS, ids=[*COMMANDS])
def test_a_documented_command_composes(place: str, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    name, overrides = COMMANDS[place]
    assert (ROOT / "src" / f"{name}.py").exists()
    if overrides:
        check_keys(composed(name, tmp_path, *first_values(readable(name, overrides))))
