"""Prepare clips: encoded videos with their labels, kept under a hash of everything that decides their bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache as cache_results
from pathlib import Path
from typing import Any

from src.data.clips.files import (
    PARTS,
    TOOLS,
    Record,
    flat_place_of,
    keep_clip,
    note_damage,
    place_of,
    read_damage,
    remove_clip,
    remove_leftovers,
    unfinished_folder,
    write_clip,
)
from src.data.clips.index import Entry, find, write_manifest
from src.data.clips.table import Clips
from src.data.clips.workers import Pool
from src.data.datasets.base import LabelledDataset
from src.data.datasets.files import reject_or_skip
from src.data.images import ImageArray
from src.data.labels import IGNORE
from src.errors import UserError
from src.video.types import CodecSettings
from src.video.writing import encode

SAMPLE = 4  # clips from which disk usage is estimated before anything is kept

log = logging.getLogger(__name__)


class ClipJob(ABC):
    """One clip to be made; picklable, so that processes can share the work."""

    name: str
    start: int  # index of the clip's first frame in its video; identifies equal frames of several clips

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def frames(self) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """RGB (H, W, 3) and labels (H, W), None where unlabelled, from a keyframe on."""

    @abstractmethod
    def fingerprint(self) -> Any:
        """Return plain data that changes whenever `frames` would, with the format numbers of what makes them."""


Task = tuple[ClipJob, Path]  # a clip, and where its files come to lie
Missing = list[Task]


class ClipRecipe(ABC):
    """A way to make clips of a split of a data set."""

    @abstractmethod
    def jobs(self, source: LabelledDataset, split: str, gop: int) -> list[ClipJob]:
        """The clips of a split."""

    def first_scored(self, gop: int, longest_gop: int) -> int:
        """Index in its video of the first frame that GOPs of up to `longest_gop` frames reach at every distance."""
        return max(gop, longest_gop) - 1

    def label_maps(self, source: LabelledDataset, split: str) -> list[Callable[[], ImageArray]]:
        """Readers of the label maps (H, W) that the clips of a split are made of; none where they are unknown."""
        return []


def prepare(
    jobs: list[ClipJob],
    encoding: CodecSettings,
    cache: Path,
    workers: int,
    on_damage: str = "stop",
    classes: int = IGNORE,
    thorough: bool = False,
) -> Clips:
    """Return the clips of all jobs, in order; make those not in the cache, in `workers` processes.

    A run that is killed loses at most the clips in work. Under on_damage="skip" clips of damaged files are left
    out, with a warning each.

    Args:
        jobs: that make clips.
        encoding: of the clips.
        cache: folder.
        workers: processes.
        on_damage: "stop" or "skip".
        classes: K of the labels.
        thorough: look at the sizes of all files, and try again what was left out as damaged; otherwise a clip is
            looked at when it is used.

    Raises:
        UserError: damaged files, a cache that cannot be written, or too little space for what is missing.
    """
    _make_folder(cache)
    keys = [clip_key(job, encoding) for job in jobs]
    entries = find(cache, keys, check_sizes=thorough)
    missing = [(job, place_of(cache, key)) for job, key in zip(jobs, keys, strict=True) if key not in entries]
    if missing and on_damage == "skip" and not thorough:
        missing = [task for task in missing if not _is_left_out(task)]
    if missing:
        if not os.access(cache, os.W_OK):
            raise UserError(f"paths.cache '{cache}' is read-only and lacks {len(missing)} clips; give another folder")
        log.info("preparing %d of %d clips in %s", len(missing), len(jobs), cache)
        made = _make_all(missing, encoding, cache, workers, on_damage)
        write_manifest(cache, [record["key"] for record in made])
        entries |= {record["key"]: Entry.of(record) for record in made}
    found = [(job, key) for job, key in zip(jobs, keys, strict=True) if key in entries]
    if jobs and not found:
        raise UserError("no clip is left: all files are damaged; replace them")
    here, names = [job for job, _ in found], [key for _, key in found]
    return Clips(here, names, [entries[key] for key in names], encoding, cache, classes)


def _is_left_out(task: Task) -> bool:
    """Warn of a clip that an earlier run could not make."""
    message = read_damage(task[1])
    if message is not None:
        log.warning("left out: %s", message)
    return message is not None


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"paths.cache '{cache}' cannot be made ({error.strerror}); give another folder") from error


def clip_key(job: ClipJob, encoding: CodecSettings) -> str:
    """Hash all that decides a clip's bytes: job, codec settings, format numbers and library versions.

    Code is not part of it: a change of the code that changes clips raises the `FORMAT` of what it belongs to.
    """
    of_job = json.dumps([job.name, job.fingerprint()], default=str, sort_keys=True)
    return hashlib.sha256(f"{of_job[:-1]}, {_shared_part(encoding, encode.FORMAT)}".encode()).hexdigest()[:24]


@cache_results
def _shared_part(encoding: CodecSettings, number: int) -> str:
    """The end of the JSON list that is hashed, which all clips of a data set share."""
    return json.dumps([asdict(encoding), number, TOOLS], default=str, sort_keys=True)[1:]


def _make_all(missing: Missing, encoding: CodecSettings, cache: Path, workers: int, on_damage: str) -> list[Record]:
    def failed(task: Task, error: UserError) -> None:
        reject_or_skip(str(error), on_damage)
        note_damage(place_of(cache, task[1].name), task[0], str(error), cache)

    remove_leftovers(cache)
    first, rest = _sample(missing)
    try:
        with unfinished_folder(cache) as folder, Pool(workers) as pool:  # what the pool still does ends first
            sample = pool.run(_Make(encoding, folder), [(job, folder / place.name) for job, place in first], failed)
            _check_space(sample, missing, cache)
            for record in sample:
                keep_clip(folder / record["key"], place_of(cache, record["key"]))
                remove_clip(flat_place_of(cache, record["key"]))
            return sample + pool.run(_Make(encoding, cache), rest, failed)
    except OSError as error:
        raise UserError(f"paths.cache '{cache}' cannot be written ({error.strerror}); make room there") from error
    finally:
        remove_leftovers(cache)


@dataclass(frozen=True)
class _Make:
    """`write_clip` for processes: picklable."""

    encoding: CodecSettings
    cache: Path

    def __call__(self, task: Task) -> Record:
        return write_clip(*task, self.encoding, self.cache)


def _sample(missing: Missing) -> tuple[Missing, Missing]:
    """Choose a few clips from the whole length of the list, to estimate disk usage; return them and the others."""
    chosen = {number * len(missing) // SAMPLE for number in range(SAMPLE)}
    others = [task for number, task in enumerate(missing) if number not in chosen]
    return [missing[number] for number in sorted(chosen)], others


def _check_space(sample: list[Record], missing: Missing, cache: Path) -> None:
    frames = sum(record["length"] for record in sample)
    if frames == 0:  # all of them damaged
        return
    used = sum(record[part]["bytes"] for record in sample for part in PARTS if part in record)
    need = used / frames * sum(len(job) for job, _ in missing)
    free = shutil.disk_usage(cache).free + used  # by the sample, which is part of the need
    log.info("disk: %d clips need about %s, %s are free", len(missing), _size(need), _size(free))
    if need > free:
        raise UserError(
            f"paths.cache '{cache}' has {_size(free)} free, {len(missing)} clips need about {_size(need)}; "
            "make room, give another folder or a lower video.bitrate"
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"
