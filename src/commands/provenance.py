"""The record that makes a run repeatable: configuration, revision, environment."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.syntax import Syntax

from src.errors import UserError
from src.files import as_json, atomic_write, write_json
from src.training.resume import CONFIG, FORMAT, PROVENANCE, RESUMES, Change

RESULTS = ("metrics.json", "metrics/benchmark.json", "*/done.json", "*/checkpoints/*.ckpt")


def write_provenance(run_dir: Path, config: dict[str, Any], **about: Any) -> None:
    """Write configuration, overrides and environment of a run to its directory, and print the configuration.

    Args:
        run_dir: is made.
        config: resolved.
        about: is added to `provenance.json`.

    Raises:
        UserError: the directory holds the results of another run.
    """
    check_unused(run_dir, config)
    _write(run_dir, config, about)


def _write(run_dir: Path, config: dict[str, Any], about: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, sort_keys=False)
    run_dir.mkdir(parents=True, exist_ok=True)
    with atomic_write(run_dir / CONFIG) as temporary:
        temporary.write_text(text)
    write_json(run_dir / PROVENANCE, {**provenance(), "format": FORMAT, **about})
    overrides = run_dir / ".hydra" / "overrides.yaml"
    overrides.parent.mkdir(exist_ok=True)
    with atomic_write(overrides) as temporary:
        temporary.write_text(yaml.safe_dump(list(HydraConfig.get().overrides.task)))
    _print(text)


def check_unused(run_dir: Path, config: dict[str, Any]) -> None:
    """Reject a run directory that holds results of another configuration; the same one may be run again.

    Raises:
        UserError: with the first results found.
    """
    found = next((path for pattern in RESULTS for path in sorted(run_dir.glob(pattern))), None)
    if found is None:
        return
    try:
        before = yaml.safe_load((run_dir / CONFIG).read_text())
    except (OSError, ValueError, yaml.YAMLError):
        before = None
    if before != yaml.safe_load(yaml.safe_dump(config)):
        raise UserError(f"'{found}' is the result of another run; give another hydra.run.dir, or move it away")


def record_resume(run_dir: Path, config: dict[str, Any], changes: list[Change]) -> None:
    """Append a line to `resumes.jsonl`: when and with what a run continues, and what of its configuration changes."""
    if not (run_dir / CONFIG).exists():
        _write(run_dir, config, {})
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"time": now, "changes": {c.key: c.as_dict() for c in changes}, **provenance()}
    with (run_dir / RESUMES).open("a") as file:
        file.write(as_json(record) + "\n")
    _print(yaml.safe_dump(config, sort_keys=False))


def _print(text: str) -> None:
    Console(width=110).print(Syntax(text, "yaml", background_color="default"))


def provenance() -> dict[str, Any]:
    """Return command, git revision (with whether the tree was changed), Python, machine and package versions."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
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
