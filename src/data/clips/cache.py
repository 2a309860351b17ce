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
from pathlib import Path
from typing import Any

import numpy as np

from src.data.clips.files import (
    LABELS,
    PARTS,
    TOOLS,
    VIDEO,
    Record,
    is_made,
    keep_clip,
    read_record,
    remove_leftovers,
    unfinished_folder,
    write_clip,
    write_manifest,
)
from src.data.clips.workers import Pool
from src.data.datasets.base import LabelledDataset
from src.data.datasets.files import refuse_or_skip
from src.data.images import ImageArray
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


class ClipRecipe(ABC):
    """A way to make clips of a split of a data set."""

    @abstractmethod
    def jobs(self, source: LabelledDataset, split: str, gop: int) -> list[ClipJob]:
        """The clips of a split."""

    def label_maps(self, source: LabelledDataset, split: str) -> list[Callable[[], ImageArray]]:
        """Readers of the label maps (H, W) that the clips of a split are made of; none where they are unknown."""
        return []


@dataclass(frozen=True)
class Clip:
    """A prepared clip.

    Attributes:
        name: for messages and results.
        video: written by `src.video.writing.encode`, an I frame every `gop` frames.
        labels: .npz with one label map (H, W) uint8 per labelled frame, named by the frame's index.
        start: index of the first frame in the sequence the clip was cut from.
        length: frames.
        gop: frames from keyframe to keyframe.
        labelled: indices of labelled frames.
    """

    name: str
    video: Path
    labels: Path
    start: int
    length: int
    gop: int
    labelled: tuple[int, ...]

    def read_labels(self, index: int) -> ImageArray:
        """Labels (H, W) of one labelled frame."""
        with np.load(self.labels) as archive:
            labels: ImageArray = archive[str(index)]
        return labels


def prepare(
    jobs: list[ClipJob], encoding: CodecSettings, cache: Path, workers: int, on_damage: str = "stop"
) -> list[Clip]:
    """Return the clips of all jobs, in order; make those not in the cache, in `workers` processes.

    A run that is killed loses at most the clips in work. Under on_damage="skip" clips of damaged files are left
    out, with a warning each.

    Raises:
        UserError: damaged files, a cache that cannot be written, or too little space for what is missing.
    """
    _make_folder(cache)
    places = [cache / clip_key(job, encoding) for job in jobs]
    missing = [(j, p) for j, p in zip(jobs, places, strict=True) if not is_made(p)]
    if missing:
        if not os.access(cache, os.W_OK):
            raise UserError(f"paths.cache '{cache}' is read-only and lacks {len(missing)} clips; give another folder")
        log.info("preparing %d of %d clips in %s", len(missing), len(jobs), cache)
        _make_all(missing, encoding, workers, on_damage)
        write_manifest(cache)
    clips = [_load(job, place, encoding) for job, place in zip(jobs, places, strict=True)]
    found = [clip for clip in clips if clip is not None]
    if jobs and not found:
        raise UserError("no clip is left: all files are damaged; replace them")
    return found


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"paths.cache '{cache}' cannot be made ({error.strerror}); give another folder") from error


def clip_key(job: ClipJob, encoding: CodecSettings) -> str:
    """Hash all that decides a clip's bytes: job, codec settings, format numbers and library versions.

    Code is not part of it: a change of the code that changes clips raises the `FORMAT` of what it belongs to.
    """
    parts = [job.name, job.fingerprint(), asdict(encoding), encode.FORMAT, TOOLS]
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()[:24]


def _make_all(missing: list[tuple[ClipJob, Path]], encoding: CodecSettings, workers: int, on_damage: str) -> None:
    def failed(error: UserError) -> None:
        refuse_or_skip(str(error), on_damage)

    cache = missing[0][1].parent
    remove_leftovers(cache)
    first, rest = _sample(missing)
    try:
        with unfinished_folder(cache) as folder, Pool(workers) as pool:  # what the pool still does ends first
            sample = pool.run(_Make(encoding), [(job, folder / place.name) for job, place in first], failed)
            _check_space(sample, missing, cache)
            for record in sample:
                keep_clip(folder / record["key"], cache)
            pool.run(_Make(encoding), rest, failed)
    except OSError as error:
        raise UserError(f"paths.cache '{cache}' cannot be written ({error.strerror}); make room there") from error
    finally:
        remove_leftovers(cache)


@dataclass(frozen=True)
class _Make:
    """`write_clip` for processes: picklable."""

    encoding: CodecSettings

    def __call__(self, job_and_place: tuple[ClipJob, Path]) -> Record:
        return write_clip(*job_and_place, self.encoding)


Missing = list[tuple[ClipJob, Path]]


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


def _load(job: ClipJob, place: Path, encoding: CodecSettings) -> Clip | None:
    record = read_record(place)
    if record is None:  # left out as damaged
        return None
    video, labels = place.with_suffix(VIDEO), place.with_suffix(LABELS)
    return Clip(job.name, video, labels, job.start, record["length"], encoding.gop, tuple(record["labelled"]))
