"""How an entry point ends: one line and status 2 for bad input, a traceback for our own defects."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable

from omegaconf import DictConfig

from src.errors import UserError

log = logging.getLogger(__name__)


def reports_errors(task: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Turn a `UserError` of a Hydra task into one line on stderr and exit status 2."""

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> None:
        try:
            task(config)
        except UserError as error:
            # raised in a data loader process, it comes with that process's traceback before it
            message = str(error).rsplit("UserError: ", 1)[-1].strip()
            print(f"error: {message}", file=sys.stderr)
            sys.exit(2)

    return wrapped
