"""The record that makes a run repeatable: configuration, revision, environment."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.syntax import Syntax

from src.files import write_json


def write_provenance(run_dir: Path, config: dict[str, Any]) -> None:
    """Write `config_resolved.yaml` and `provenance.json` to the run directory and print the configuration."""
    text = yaml.safe_dump(config, sort_keys=False)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config_resolved.yaml").write_text(text)
    write_json(run_dir / "provenance.json", provenance())
    Console(width=110).print(Syntax(text, "yaml", background_color="default"))


def provenance() -> dict[str, Any]:
    """Return command, git revision (with whether the tree was changed), Python, machine and package versions."""
    return {
        "command": sys.argv,
        "git": {"revision": _git("rev-parse", "HEAD"), "changed": bool(_git("status", "--porcelain"))},
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "processor": platform.processor() or platform.machine()},
        "packages": dict(sorted((d.metadata["Name"], d.version) for d in distributions())),
    }


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
