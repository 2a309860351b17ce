"""Hold the rule of docs/architecture.md: a line lives on the lowest floor that knows its words; imports point down."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import src.models
from src.models.base import Segmenter
from src.models.video import SingleFrame, VideoSegmenter
from tests.support.configs import ROOT

FLOORS: list[set[str]] = [
    {
        "errors",
        "distributed",
        "download",
        "files",
        "instantiate",
        "interruption",
        "locks",
        "pipeline",
        "progress",
        "tensor_files",
    },
    {"video"},
    {"ops"},
    {"data"},
    {"losses", "models"},
    {"metrics"},
    {"checkpoints"},
    {"inference"},
    {"training", "evaluation", "benchmarking", "exporting", "adaptation"},
    {"reports"},
    {"cli"},
    {"commands"},
    {"train", "eval", "predict", "motion", "prepare", "benchmark", "convert", "report", "export", "adapt"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT = {  # libraries that the rooms below a floor must not know
    "torch": {"video"},
    "lightning": {"video", "ops", "losses", "models", "metrics", "checkpoints", "inference"}
    | {"evaluation", "benchmarking", "exporting", "adaptation", "reports"},
    "albumentations": set(FLOOR) - {"data"},
    "matplotlib": set(FLOOR) - {"training", "reports"},
    "hydra": set(FLOOR) - {"cli", "commands", "instantiate"} - FLOORS[-1],
    "omegaconf": set(FLOOR) - {"cli", "commands", "instantiate"} - FLOORS[-1],
}
COMPOSES_PHASES = {
    "src.training.phases -> hydra",
    "src.training.phases -> omegaconf",
}  # turns configuration into objects
MAY_NAME_NETWORKS = ("src.models.", "src.checkpoints.official.", "src.training.modules.")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text()) for path in sorted((ROOT / "src").rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Modules and names that a module imports anywhere, for type checkers only and within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


def dependencies(module: str) -> set[str]:
    """Modules of src that a module imports."""
    found = set()
    for source, name in imported(TREES[module]):
        found |= {m for m in (f"{source}.{name}", source) if m in TREES and m != "src"} and {
            f"{source}.{name}" if f"{source}.{name}" in TREES else source
        }
    return found - {module}


EDGES = {module: dependencies(module) for module in TREES}


def test_every_module_has_a_room_and_every_room_modules() -> None:
    assert {room(module) for module in TREES} - {""} == FLOOR.keys()


def test_imports_point_down() -> None:
    """The command line counts as a floor between reports and commands: nothing below them knows it."""
    upward = {
        f"{module} -> {other}"
        for module, others in EDGES.items()
        for other in others
        if room(module) and FLOOR[room(other)] > FLOOR[room(module)]
    }
    assert sorted(upward) == []


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected parts of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert sorted({" <-> ".join(circle) for circle in circles(EDGES)}) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {name: set() for name in FLOOR}
    for module, others in EDGES.items():
        if room(module):
            rooms[room(module)] |= {room(other) for other in others} - {room(module), ""}
    assert sorted({" <-> ".join(circle) for circle in circles(rooms)}) == []


@pytest.mark.parametrize("library", WITHOUT)
def test_rooms_do_without_libraries_of_the_floors_above(library: str) -> None:
    wrong = {
        f"{module} -> {library}"
        for module, tree in TREES.items()
        if room(module) in WITHOUT[library] and any(source.split(".")[0] == library for source, _ in imported(tree))
    }
    assert sorted(wrong - COMPOSES_PHASES) == []


def networks() -> set[str]:
    """Names of all network classes."""
    for module in pkgutil.walk_packages(src.models.__path__, "src.models."):
        importlib.import_module(module.name)

    def below(parent: type) -> Iterator[type]:
        for child in parent.__subclasses__():
            yield child
            yield from below(child)

    classes = {kind for parent in (Segmenter, VideoSegmenter) for kind in below(parent)} - {SingleFrame}
    found = {kind.__name__ for kind in classes if kind.__module__.startswith("src.models.")}
    return found | {"Xception"}


def test_networks_are_called_by_their_registered_names() -> None:
    names = networks()
    assert {"PSPNet", "RDRNet"} <= names
    wrong = {
        f"{module} names {name}"
        for module, tree in TREES.items()
        if not f"{module}.".startswith(MAY_NAME_NETWORKS)
        for name in {name for source, name in imported(tree) if source.startswith("src.models")} & names
    }
    assert sorted(wrong) == []


def kinds_asked_for(tree: ast.AST) -> set[str]:
    """Names of the classes that `isinstance` is called with."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2)
    asked = (node.args[1] for node in calls if isinstance(node.func, ast.Name) and node.func.id == "isinstance")
    parts = [part for kinds in asked for part in ast.walk(kinds)]
    attributes = {part.attr for part in parts if isinstance(part, ast.Attribute)}
    return attributes | {part.id for part in parts if isinstance(part, ast.Name)}


def test_kinds_asked_for_are_found() -> None:
    assert kinds_asked_for(ast.parse("isinstance(a, ARSeg) or isinstance(a, (net.TDNet, str))")) == {
        "ARSeg",
        "TDNet",
        "net",
        "str",
    }


def test_no_room_above_models_asks_for_the_class_of_a_network() -> None:
    names = networks()
    assert {"ARSeg", "TDNet"} <= names
    wrong = {
        f"{module} asks for {name}"
        for module, tree in TREES.items()
        if room(module) and FLOOR[room(module)] > FLOOR["models"] and not f"{module}.".startswith(MAY_NAME_NETWORKS)
        for name in kinds_asked_for(tree) & names
    }
    assert sorted(wrong) == []


@pytest.mark.subprocess
def test_the_python_interface_loads_no_training_code() -> None:
    code = "import sys, src.inference.api; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert {name.split(".")[0] for name in loaded} & {"lightning", "albumentations", "matplotlib"} == set()
    assert len(loaded) <= 2000
