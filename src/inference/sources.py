"""Which videos a `source` means, and the names of their results."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.errors import UserError
from src.video.reading.live import is_live, without_password

VIDEOS = (
    ".mp4",
    ".mkv",
    ".mov",
    ".avi",
    ".mxf",
    ".webm",
    ".m4v",
    ".ts",
    ".mpg",
    ".mpeg",
    ".h264",
    ".hevc",
    ".264",
    ".265",
)


def videos_of(source: str | Sequence[str]) -> Mapping[str, str] | None:
    """Paths of the videos by the name of the folder of their results, in order; None for a single video by its name.

    Args:
        source: a video; or several: a list, a folder (searched with all folders in it), or a pattern with * or **.

    Raises:
        UserError: a folder or pattern without videos, or two videos whose results would have one name.
    """
    if isinstance(source, str) and (is_live(source) or not (os.path.isdir(source) or _is_pattern(source))):
        return None
    found: dict[str, str] = {}  # path to name
    for one in [source] if isinstance(source, str) else source:
        for path, name in _expanded(str(one)):
            found.setdefault(path, name)
    if not found:
        raise UserError("source=[] names no video; give one or more")
    stems = Counter(os.path.splitext(name)[0] for name in found.values())
    names = {
        path: name if stems[os.path.splitext(name)[0]] > 1 else os.path.splitext(name)[0]
        for path, name in found.items()
    }
    same = [name for name, count in Counter(names.values()).items() if count > 1]
    if same:
        one, other, *_ = [path for path, name in names.items() if name == same[0]]
        raise UserError(
            f"source: the results of '{one}' and '{other}' would both be named '{same[0]}'; give a folder that holds "
            "both, or run them one after the other"
        )
    return {name: path for path, name in names.items()}


def _is_pattern(source: str) -> bool:
    return glob.has_magic(source) and not os.path.exists(source)


def _expanded(source: str) -> list[tuple[str, str]]:
    """Path of each video and its place below what was named."""
    if is_live(source):
        return [(source, re.sub(r"\W+", "_", without_password(source)).strip("_") or "stdin")]
    if os.path.isdir(source):
        paths = sorted(
            str(path) for path in Path(source).rglob("*") if path.suffix.lower() in VIDEOS and path.is_file()
        )
        if not paths:
            raise UserError(f"source: folder '{source}' holds no video ({', '.join(VIDEOS)}); give another")
        return [(path, os.path.relpath(path, source)) for path in paths]
    if _is_pattern(source):
        paths = sorted(path for path in glob.glob(source, recursive=True) if os.path.isfile(path))
        if not paths:
            raise UserError(f"source: nothing is named like '{source}'; check the pattern")
        fixed = source[: next(n for n, sign in enumerate(source) if sign in "*?[")]
        return [(path, os.path.relpath(path, os.path.dirname(fixed) or ".")) for path in paths]
    return [(source, os.path.basename(source))]
