"""Command lines in help texts and documents, read and composed as Hydra would compose them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from tests.support.configs import compose_config

COMMAND = re.compile(r"python -m src\.(\w+) ([^`#\n]*)")


def commands_in(text: str) -> list[tuple[str, list[str]]]:
    """Return name and arguments of each `python -m src.NAME ...` of a text."""
    return [(name, shlex.split(arguments)) for name, arguments in COMMAND.findall(text)]


def compose_command(name: str, arguments: list[str], run_dir: Path) -> DictConfig:
    """Compose the configuration of a command line; of a sweep, that of its first job."""
    given = [argument for argument in arguments if argument not in ("--multirun", "--help", "-m")]
    parsed = OverridesParser.create().parse_overrides(given)
    first = [
        f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        if override.is_sweep_override()
        else str(override.input_line)
        for override in parsed
    ]
    return compose_config(name, run_dir, *first)
