"""The last line of a command that does not end well."""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn


def end_with(message: str, status: int = 2) -> NoReturn:
    """Print one line on stderr, which may be a file on a full disk, and exit."""
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
