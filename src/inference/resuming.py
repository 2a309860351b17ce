"""Whether the results of a video are there already, so that a run over many continues where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xxhash

from src.errors import UserError
from src.inference.timing import TIMING

_END = 1 << 16  # bytes, more than a summary has
_EDGE = 1 << 20  # bytes at both ends of a file
SUMMARY = '"summary": '


def file_identity(path: str | Path) -> dict[str, Any]:
    """Return what tells a file from another: its size, and a digest of it and of a megabyte at each end.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            digest = xxhash.xxh3_128(file.read(_EDGE))
            size = file.seek(0, 2)
            file.seek(max(0, size - _EDGE))
            digest.update(file.read())
    except OSError as error:
        raise _unreadable(path, error) from error
    return {"bytes": size, "digest": digest.hexdigest()}


def is_complete(output: Path, identity: dict[str, Any]) -> bool:
    """Return whether a folder holds the results of a run with this identity.

    Raises:
        UserError: it holds those of another run, or cannot be read.
    """
    try:
        with (output / TIMING).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _END))
            text = file.read().decode(errors="replace")
        found = json.loads(text[text.rindex(SUMMARY) + len(SUMMARY) :].rpartition("}")[0])["identity"]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(output / TIMING, error) from error
    except (ValueError, KeyError, TypeError):
        found = {}
    check_same(output, found, identity)
    return True


def check_same(output: Path, found: Any, identity: dict[str, Any]) -> None:
    """Reject a folder that holds what a run with another identity has left.

    Args:
        output: the folder.
        found: the identity that it names, or anything else.
        identity: the wanted one.

    Raises:
        UserError: they differ.
    """
    for key, value in identity.items():
        if not isinstance(found, dict) or found.get(key) != value:
            raise UserError(
                f"output '{output}' holds results of another run (another {key}); delete that folder, or give another "
                "output"
            )


def _unreadable(path: str | Path, error: OSError) -> UserError:
    return UserError(f"'{path}' cannot be read ({error.strerror}); check its permissions")
