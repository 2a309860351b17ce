"""The one error type that reaches a user without a traceback, and errors that may end nothing."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec

Arguments = ParamSpec("Arguments")

log = logging.getLogger(__name__)


class UserError(Exception):
    """Bad input: the message names the value, the rule it breaks and the remedy.

    Entry points print the message on stderr and exit with status 2; everything else that is raised is a
    defect of this project and keeps its traceback.
    """


class MissingCheckpoint(UserError):
    """Raised when a checkpoint file does not exist (yet)."""


class Exhausted(UserError):
    """Raised when the machine, not the input, ends a command: no room on the disk, no memory, no file descriptors."""


def with_notes(error: BaseException) -> str:
    """Return the message of an error, and its notes after it, in one line."""
    return "; ".join([str(error), *getattr(error, "__notes__", [])])


def absence(path: str | Path) -> str:
    """Return the reason why a path is not that of a file, for messages."""
    return "is a folder" if Path(path).is_dir() else "does not exist"


def check_range(holds: bool, key: str, value: object, allowed: str) -> None:
    """Reject a value that is out of its range.

    Args:
        holds: whether the value is in range.
        key: name of the value in the configuration.
        value: the configured one.
        allowed: description of the values to give instead.

    Raises:
        UserError: `holds` is false.
    """
    if not holds:
        raise UserError(f"{key}={value} is out of range; give {allowed}")


def check_choice(key: str, value: object, choices: Iterable[object]) -> None:
    """Reject a value that is none of the known ones.

    Args:
        key: name of the value in the configuration.
        value: the configured one.
        choices: the known ones.

    Raises:
        UserError: `value` is none of them.
    """
    known = list(choices)
    if value not in known:
        raise UserError(f"{key}={value} is not one of {', '.join(map(str, known))}; choose one of these")


def check_whole(key: str, value: object, least: int, most: int | None = None, null: str = "") -> None:
    """Reject a value that is no whole number, or out of its range.

    Args:
        key: name of the value in the configuration.
        value: the configured one.
        least, most: the range; None: no upper limit.
        null: meaning of None, where that is allowed.

    Raises:
        UserError: another value.
    """
    if value is None and null:
        return
    whole = value if isinstance(value, int) and not isinstance(value, bool) else least - 1
    inside = least <= whole and (most is None or whole <= most)
    allowed = f"a whole number from {least} {'up' if most is None else f'to {most}'}"
    check_range(inside, key, value, f"{allowed}, or null for {null}" if null else allowed)


def warns_only(show: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Decorate a function that only shows results: what it raises becomes a warning, as a run does not depend on it."""

    @functools.wraps(show)
    def shown(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            show(*args, **kwargs)
        except Exception as error:
            log.warning("%s shows nothing (%s: %s); the run continues", show.__qualname__, type(error).__name__, error)

    return shown


LONGEST_SIDE = 16384  # pixels of an image or video frame that is asked for: 16K
MAX_PIXELS = 2**27  # of an image or video frame: 16K; a header may promise any number, which memory is then taken for


def check_pixels(what: str, count: int) -> None:
    """Reject the number of pixels that a file's header states; `what` names the file.

    Raises:
        UserError: more than `MAX_PIXELS`.
    """
    if count > MAX_PIXELS:
        raise UserError(
            f"{what} has {count / 1e6:.0f} million pixels by its header, the limit is {MAX_PIXELS / 1e6:.0f} million; "
            "replace the file if it is damaged, or scale it down"
        )
