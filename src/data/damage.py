"""What becomes of files that cannot be used: an error, or a warning where the user prefers to go on."""

from __future__ import annotations

import logging

from src.errors import UserError

POLICIES = ("stop", "skip")

log = logging.getLogger(__name__)


def refuse_or_skip(message: str, policy: str) -> None:
    """Warn under "skip".

    Raises:
        UserError: under "stop".
    """
    if policy == "skip":
        log.warning("left out: %s", message)
    else:
        raise UserError(message)
