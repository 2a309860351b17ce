"""The pinned versions hold everything that an installation needs, but torch's builds, which the user chooses."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CHOSEN = {"torch", "torchvision"}  # installed beforehand, with what they need


def pins(name: str) -> set[str]:
    return {canonicalize_name(found) for found in re.findall(r"^([\w.-]+)==", (ROOT / name).read_text(), re.MULTILINE)}


def direct() -> set[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return {one for one in map(Requirement, listed) if one.name != project["name"]}


def needed() -> set[str]:
    """Names of all packages below the direct ones, without those of torch."""
    found: set[str] = set()
    waiting = list(direct())
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found | CHOSEN:
            continue
        found.add(name)
        try:
            below = [Requirement(one) for one in requires(name) or ()]
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        extras = requirement.extras or {""}
        waiting += [r for r in below if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras)]
    return found


def test_each_package_that_is_needed_is_pinned():
    assert not needed() - pins("constraints.txt")


def test_each_pin_has_its_hashes():
    assert pins("requirements-hashed.txt") == pins("constraints.txt")
