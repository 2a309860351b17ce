"""Modules of users, named by `plugins` on the command line or by entry points of installed packages."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

from omegaconf import DictConfig

Task = Callable[[DictConfig], float | None]


def with_plugins(task: Task) -> Task:
    """Import `config.plugins` (names or one name) before a task; the current directory counts, as with `python -m`."""

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> float | None:
        if "plugins" in config:
            from src.models.registry import load_plugins  # imported late: it knows torch, and --help need not

            if os.getcwd() not in sys.path and "" not in sys.path:
                sys.path.insert(0, os.getcwd())
            named = config.plugins or []
            load_plugins([named] if isinstance(named, str) else list(named))
        return task(config)

    return wrapped
