"""The last line of a command that does not end well."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # as Lightning reads them


def end_with(message: str, status: int = 2) -> NoReturn:
    """Print one line on stderr, which may be a file on a full disk, and exit."""
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def is_first_process() -> bool:
    """Return whether this process is the first or only one of its command, which speaks for all."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"
