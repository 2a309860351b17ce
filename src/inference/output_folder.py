"""An output folder in which files appear when all of them are complete."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from src.errors import UserError
from src.interruption import Interruption
from src.locks import LOCK, lock_folder, unlock_folder

PARTIAL, COMPLETE = ".partial", ".complete"
_KILLED = "killed_{}"  # what killed runs have left, if it is kept

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked_folder(folder: Path, output: Path, key: str = "output") -> Iterator[None]:
    """Make a folder and keep other processes out of it; remove it, and the others made here, if it stays empty.

    Args:
        folder: `output`, or a part of it.
        output: for messages.
        key: that names it in the configuration.

    Raises:
        UserError: `output` cannot be written, or belongs to another run.
    """
    missing = [made for made in (folder, *folder.parents) if not made.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = lock_folder(folder, again=False)
        next(output.iterdir())  # it can be read, too
    except OSError as error:
        raise UserError(
            f"{key} '{output}' cannot be written ({error.strerror}); give one that you may write to"
        ) from error
    if owner is not None:
        raise UserError(f"{key} '{output}' belongs to {owner}, which is still running; wait for it, or give another")
    try:
        yield
    finally:
        if missing and {item.name for item in folder.glob("*")} <= {LOCK}:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                for made in missing[1:]:
                    made.rmdir()
        unlock_folder(folder)


@contextlib.contextmanager
def atomic_output_folder(output: Path, keep: bool = False, key: str = "output") -> Iterator[Path]:
    """Yield a folder to write to; its content moves to `output` at the end, and is deleted if anything is raised.

    It lies inside `output`, so that moving never crosses file systems, and it keeps two runs apart. That of a run that
    was killed is taken over.

    Args:
        output: new or empty.
        keep: what a killed run has left is moved to a folder killed_1, 2, .. of `output`; else it is deleted.
        key: that names the output in the configuration.

    Raises:
        UserError: `output` cannot be written, is not empty, belongs to another run; or the disk is full.
    """
    partial = output / PARTIAL
    with locked_folder(partial, output, key):
        try:
            _take_over(output, partial, keep, key)
            yield partial
            os.replace(partial, output / COMPLETE)
            settle(output)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(f"{key} '{output}': {error.strerror}; make room, or give another folder") from error
        except Interruption as interruption:
            interruption.add_note(f"'{output}' is left as it was; start it again")
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def settle(output: Path) -> None:
    """Move complete results to where they belong, also those of a run that was killed while it did so."""
    complete = output / COMPLETE
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for item in sorted(complete.iterdir()):  # `timing.json` comes last and marks the output as complete
            if item.name != LOCK:
                with contextlib.suppress(FileNotFoundError):  # another process does the same
                    os.replace(item, output / item.name)
        shutil.rmtree(complete, ignore_errors=True)


def _take_over(output: Path, partial: Path, keep: bool, key: str) -> None:
    """Reject an output that holds something else than what killed runs have left, and put that in order."""
    settle(output)
    found = sorted(item.name for item in output.iterdir())
    killed = _KILLED.format(r"\d+")
    others = [name for name in found if name != PARTIAL and not re.fullmatch(killed, name)]
    if others:
        raise UserError(f"{key} '{output}' holds '{others[0]}' and nothing is overwritten; give a new or empty folder")
    left = [item for item in partial.iterdir() if item.name != LOCK]
    if left and keep:
        kept = next(folder for n in count(1) if not (folder := output / _KILLED.format(n)).exists())
        kept.mkdir()
        for item in left:
            os.replace(item, kept / item.name)
        log.warning("%s: a run was killed; what it has left is in '%s'", output, kept)
    elif left:
        log.warning("%s: a run was killed; its unfinished results are made again", output)
        for item in left:
            shutil.rmtree(item) if item.is_dir() else item.unlink()
