"""Locks on folders that one process at a time may write to."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

LOCK = ".lock"  # in the folder; stays there, as removing it would take it from a process that is about to lock it

_held: dict[Path, IO[str]] = {}


def lock_folder(folder: Path) -> str | None:
    """Lock a folder until `unlock_folder` or the end of this process, also if that is killed.

    Where the file system has no locks, none is taken.

    Returns:
        The process that holds the lock, if another one does; else None.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    path = (folder / LOCK).resolve()
    if path in _held:
        return None
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of POSIX: not inherited by workers, which may outlive this
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            with file:
                file.seek(0)
                return file.read().strip() or "another process"
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[path] = file
    return None


def unlock_folder(folder: Path) -> None:
    """Unlock a folder that this process may have locked."""
    file = _held.pop((folder / LOCK).resolve(), None)
    if file is not None:
        file.close()
