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


def lock_folder(folder: Path, again: bool = True) -> str | None:
    """Lock a folder until `unlock_folder` or the end of this process, also if that is killed.

    Where the file system has no locks, none is taken.

    Args:
        folder: exists.
        again: whether a folder that this process holds already counts as free.

    Returns:
        The process that holds the lock, if another one does; else None.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    path = (folder / LOCK).resolve()
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    if path in _held:
        return None if again else owner
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of POSIX: not inherited by workers, which may outlive this
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            with file:
                file.seek(0)
                return file.read().strip() or "another process"
    if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        file.close()  # its owner deleted the folder before the lock was free
        return lock_folder(folder, again)
    file.truncate(0)
    file.write(f"{owner}\n")
    file.flush()
    _held[path] = file
    return None


def unlock_folder(folder: Path) -> None:
    """Unlock a folder that this process may have locked, or has deleted."""
    file = _held.pop((folder / LOCK).resolve(), None)
    if file is not None:
        file.close()
