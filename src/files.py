"""Files that are complete whenever they are there under their name."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from src.errors import UserError

MAX_ARRAYS = 2**30  # bytes of an .npz file's arrays; a small damaged or hostile file may promise any number
MAX_YAML = 2**22  # bytes
MAX_VALUES = 50_000  # of a YAML file, aliases counted as what they stand for
MAX_DEPTH = 50  # of nesting in it
FAILED = "failed.json"  # in the run directory of a job of a multirun: its overrides and error


@contextlib.contextmanager
def atomic_write(path: Path, *, unique: bool = True, sync: bool = False, backup: Path | None = None) -> Iterator[Path]:
    """Yield a path beside `path` to write to, and move that file to `path` at the end; remove it if anything is raised.

    Args:
        path: the file to write; its folder exists. A file already there is replaced, or kept if anything is raised.
        unique: the temporary name holds host and process, so that several processes may write the same file. Without
            it the name is always the same: the next write overwrites what a killed one left.
        sync: force the bytes and the renaming to the disk, so that they survive a power cut.
        backup: the name that a file already at `path` gets instead of being replaced.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    owner = f"{socket.gethostname()}.{os.getpid()}" if unique else "unfinished"
    temporary = path.with_name(f".{path.name}.{owner}")
    try:
        yield temporary
        if sync:
            _sync(temporary)
        if backup is not None:
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, backup)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:  # of writing, which knows a number only
            error.filename = str(path)
        raise
    if sync:
        _sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(as_json(content, indent=2) + "\n")


def as_json(content: Any, **options: Any) -> str:
    """Return strict JSON, with null for numbers that are not finite.

    Args:
        content: plain Python.
        options: of `json.dumps`.
    """
    return json.dumps(_finite(content), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Return the content of a JSON file that a run has left.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({error}); move it away, or restore it") from error


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Return arrays of an .npz file.

    Raises:
        ValueError: it is missing, damaged or too large, or lacks one of the names.
    """
    try:
        with np.load(path) as arrays:
            if sum(arrays.zip.getinfo(f"{name}.npy").file_size for name in names) > MAX_ARRAYS:
                raise ValueError(f"more than {MAX_ARRAYS} bytes of arrays")
            return [arrays[name] for name in names]
    except (
        AttributeError,
        OSError,
        EOFError,
        KeyError,
        SyntaxError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(str(error)) from error
    except (MemoryError, NotImplementedError, RuntimeError, UnicodeError) as error:  # an odd header
        raise ValueError(str(error) or "out of memory") from error


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file in bounded memory and time, whatever its aliases and nesting.

    Raises:
        UserError: it cannot be read, is not YAML, or is larger than files of people are.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_YAML + 1)
        _check_extent(text)
        return yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' cannot be read ({reason}); correct it") from error


def _check_extent(text: str) -> None:
    """Count what a YAML text unfolds to, without unfolding it.

    Raises:
        ValueError: too much.
    """
    if len(text) > MAX_YAML:
        raise ValueError(f"it has more than {MAX_YAML >> 20} MB")
    sizes: dict[str, int] = {}  # by anchor; of an anchor that is open still: too many, as it contains itself
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            sizes[event.anchor or ""] = MAX_VALUES + 1
            size = 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
            sizes[anchor or ""] = size
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = sizes[event.anchor or ""] = 1
        else:
            continue
        anchor, before = open_nodes.pop()
        open_nodes.append((anchor, before + size))
        if before + size > MAX_VALUES or len(open_nodes) > MAX_DEPTH:
            raise ValueError(f"it has more than {MAX_VALUES} values or {MAX_DEPTH} levels")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """List what is in a folder, sorted, without hidden files and folders, such as the `._NAME` of a Mac."""
    return sorted(
        path for path in folder.glob(pattern) if not any(part[0] == "." for part in path.relative_to(folder).parts)
    )
