"""Every remedy that an error names exists: its key is one of a command that can raise the error."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.configs import CONF, ROOT

REMEDY = re.compile(r"\b(?:set|give|or|let|with|use) ([a-z_]+(?:\.[a-z_]+)*)=")
COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))
GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}
ARGUMENTS = {"src.models.backbones.imagenet": {"weights"}}  # of the function whose error it is
TREES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted((ROOT / "src").rglob("*.py"))
}


def remedies() -> Iterator[tuple[str, str]]:
    """(module, key) of each KEY=VALUE that a text tells to set; fields of f-strings count as 0."""
    for module, tree in TREES.items():
        documentation = {ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, DOCUMENTED)}
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(v.value) if isinstance(v, ast.Constant) else "0" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in documentation:
                text = node.value
            for key in REMEDY.findall(text):
                yield module, key


PLACED = re.compile(r"- (?:override )?/(\w+)@(\w+):")  # a group chosen inside another
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def imported(module: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & TREES.keys()


@cache
def reach(command: str) -> frozenset[str]:
    """Every module that a command imports, however far down, and those that configurations name."""
    seen: set[str] = set()
    waiting = [f"src.{command}", *configured()]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += imported(module)
    return frozenset(seen)


@cache
def configured() -> tuple[str, ...]:
    found = re.findall(r"_target_: (src\.[\w.]+)\.\w+", "\n".join(p.read_text() for p in CONF.rglob("*.yaml")))
    return tuple(set(found) & TREES.keys())


def content(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) or {}


@cache
def keys(command: str) -> frozenset[str]:
    """Dotted keys of a command and of all that its groups offer."""
    own = content(CONF / f"{command}.yaml")
    groups = [name.split()[-1] for entry in own.get("defaults", []) if isinstance(entry, dict) for name in entry]
    found = set(dotted(own))
    for group in {group for group in groups if "/" not in group}:
        for path in (CONF / group).rglob("*.yaml"):
            found |= set(dotted(content(path), f"{group}."))
            for chosen, package in PLACED.findall(path.read_text()):
                for inner in (CONF / chosen).rglob("*.yaml"):
                    found |= set(dotted(content(inner), f"{group}.{package}."))
    return frozenset(found)


def dotted(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from dotted(value, f"{prefix}{key}.")


@pytest.mark.parametrize(("module", "key"), sorted(set(remedies())))
def test_a_command_that_raises_the_error_has_the_key(module: str, key: str) -> None:
    if key.startswith("hydra.") or key in GROUPS | ARGUMENTS.get(module, set()):
        return
    raising = [command for command in COMMANDS if module in reach(command)]
    assert any(key in keys(command) for command in raising), f"none of {raising} has {key}"


def test_every_command_that_stops_at_damage_can_continue() -> None:
    """`Video` recommends on_damage=continue unless its caller gives another remedy."""
    stopping = set()
    for module, tree in TREES.items():
        within = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "info"}
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Video"]
        iterated = [n for n in calls if id(n) not in within and "remedy" not in {k.arg for k in n.keywords}]
        if iterated and not module.startswith("src.video."):
            stopping.add(module)
    assert stopping == {"src.inference.api", "src.commands.motion", "src.commands.adapt"}
    commands = [command for command in COMMANDS if stopping & reach(command)]
    assert {"predict", "motion", "adapt"} <= set(commands)
    assert all("on_damage" in keys(command) for command in commands), commands
