"""Which videos a `source` means, and the names of their results."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from src.errors import UserError
from src.files import visible
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


def videos_of(source: str | Sequence[str], output: str) -> Mapping[str, str] | None:
    """Paths of the videos by the name of the folder of their results, in order; None for a single video by its name.

    A name keeps the suffix of its video: it is the same whatever other videos there are, and no folder of results lies
    in another.

    Args:
        source: a video; or several: a list, a folder (searched with all folders in it), or a pattern with * or **.
        output: of all results; of a folder or pattern, videos below it are left out.

    Raises:
        UserError: a folder or pattern without videos, two videos whose results would have one name, or results that
            would be named like a file.
    """
    if isinstance(source, str) and (is_live(source) or not (os.path.isdir(source) or _is_pattern(source))):
        return None
    found: dict[str, str] = {}  # path to name
    for one in [source] if isinstance(source, str) else source:
        for path, name in _expanded(str(one), output):
            if is_live(path):  # of one address, up to what is not shown
                name = _free(name, found.values())
            found.setdefault(path, name)
    if not found:
        raise UserError("source=[] names no video; give one or more")
    same = [name for name, times in Counter(found.values()).items() if times > 1]
    if same:
        one, other, *_ = [without_password(path) for path, name in found.items() if name == same[0]]
        raise UserError(
            f"source: the results of '{one}' and '{other}' would both be named '{same[0]}'; give a folder that holds "
            "both, or run them one after the other"
        )
    for name in found.values():
        if os.path.isfile(os.path.join(output, name)):
            raise UserError(f"output '{output}' holds the file '{name}', and results would be named so; give another")
    return {name: path for path, name in found.items()}


def video_files(sources: Sequence[str], key: str) -> list[str]:
    """List the files that sources mean, each once, in order.

    Args:
        sources: as of `videos_of`.
        key: that they are values of, for messages.

    Raises:
        UserError: a folder or pattern without videos, a live source, or no such file.
    """
    paths = list(dict.fromkeys(path for one in sources for path, _ in _expanded(str(one), None, key)))
    for path in paths:
        if is_live(path):
            raise UserError(f"{key}: '{without_password(path)}' is live and comes but once; give files")
        if not os.path.isfile(path):
            raise UserError(f"{key}: there is no file '{path}'; give videos, folders of them or patterns")
    return paths


def _free(name: str, taken: Collection[str]) -> str:
    return next(one for n in count(1) if (one := name if n == 1 else f"{name}_{n}") not in taken)


def _is_pattern(source: str) -> bool:
    return glob.has_magic(source) and not os.path.exists(source)


def _without_results(paths: Iterable[str], root: str, output: str | None) -> list[str]:
    """Sorted paths, without those below an output that lies below the root of the search."""
    if output is None:
        return sorted(paths)
    folder = Path(output).resolve()
    is_inside = Path(root).resolve() in folder.parents
    return sorted(path for path in paths if not (is_inside and folder in Path(path).resolve().parents))


def _expanded(source: str, output: str | None, key: str = "source") -> list[tuple[str, str]]:
    """Path of each video and its place below what was named."""
    if is_live(source):
        return [(source, re.sub(r"\W+", "_", without_password(source)).strip("_") or "stdin")]
    if os.path.isdir(source):
        files = (path for path in visible(Path(source), "**/*") if path.suffix.lower() in VIDEOS and path.is_file())
        paths = _without_results(map(str, files), source, output)
        if not paths:
            raise UserError(f"{key}: folder '{source}' holds no video ({', '.join(VIDEOS)}); give another")
        return [(path, os.path.relpath(path, source)) for path in paths]
    if _is_pattern(source):
        root = os.path.dirname(source[: next(n for n, sign in enumerate(source) if sign in "*?[")]) or "."
        paths = _without_results(filter(os.path.isfile, glob.glob(source, recursive=True)), root, output)
        if not paths:
            raise UserError(f"{key}: nothing is named like '{source}'; check the pattern")
        return [(path, os.path.relpath(path, root)) for path in paths]
    return [(source, os.path.basename(source))]
