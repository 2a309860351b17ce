"""The one error type that reaches a user without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Bad input: the message names the value, the rule it breaks and the remedy.

    Entry points print the message on stderr and exit with status 2; everything else that is raised is a
    defect of ours and keeps its traceback.
    """


class MissingCheckpoint(UserError):
    """A checkpoint that is not there, perhaps not yet."""


def check_range(holds: bool, key: str, value: object, allowed: str) -> None:
    """Refuse a value that is out of its range.

    Args:
        holds: whether it is inside.
        key: how the user names the value.
        value: of the key.
        allowed: what to give instead.

    Raises:
        UserError: it is not.
    """
    if not holds:
        raise UserError(f"{key}={value} is out of range; give {allowed}")
