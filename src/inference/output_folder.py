"""An output folder in which files appear when all of them are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from src.errors import UserError
from src.interruption import Interruption

PARTIAL = ".partial"


@contextlib.contextmanager
def atomic_output_folder(output: Path) -> Iterator[Path]:
    """Yield a folder to write to; its content moves to `output` at the end, and is deleted if anything is raised.

    It lies inside `output`, so that moving never crosses file systems, and it keeps two runs apart.

    Raises:
        UserError: `output` cannot be written, is not empty, belongs to another run; or the disk is full.
    """
    missing = [folder for folder in (output, *output.parents) if not folder.exists()]
    partial = _create(output)
    try:
        yield partial
        for item in sorted(partial.iterdir()):  # `timing.json` comes last and marks the output as complete
            os.replace(item, output / item.name)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"output '{output}': {error.strerror}; make room, or give another folder") from error
    except Interruption as interruption:
        interruption.add_note(f"'{output}' is left as it was; start it again")
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # of the folders made here, those still empty
            for folder in missing:
                folder.rmdir()


def _create(output: Path) -> Path:
    partial = output / PARTIAL
    try:
        output.mkdir(parents=True, exist_ok=True)
        found = sorted(item.name for item in output.iterdir())
        if PARTIAL not in found:
            partial.mkdir()
    except OSError as error:
        raise UserError(
            f"output '{output}' cannot be written ({error.strerror}); give one that you may write to"
        ) from error
    if PARTIAL in found:
        raise UserError(
            f"output '{output}' holds '{PARTIAL}' of a run that is still running or was killed; "
            "wait for it or delete that folder"
        )
    if found:
        partial.rmdir()
        raise UserError(f"output '{output}' holds '{found[0]}' and nothing is overwritten; give a new or empty folder")
    return partial
