"""Clips on disk: encoded films with their labels, made once and kept under a hash of everything that made them."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import logging
import multiprocessing
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
from rich.progress import track

from src.data.source import Picture, Source
from src.errors import UserError
from src.video import colour, encode
from src.video.types import Encoding

log = logging.getLogger(__name__)


class ClipJob(ABC):
    """One clip to be made; picklable, so that processes can share the work."""

    name: str
    start: int  # index of the clip's first frame in its sequence; tells which frames of several clips are one

    @abstractmethod
    def frames(self) -> Iterator[tuple[Picture, Picture | None]]:
        """RGB (H, W, 3) and labels (H, W), None where unlabelled, from a keyframe on."""

    @abstractmethod
    def identity(self) -> Any:
        """Plain data that changes whenever `frames` would."""

    @abstractmethod
    def makers(self) -> list[ModuleType]:
        """Modules whose code makes the frames; a change in them makes new clips."""


class ClipRecipe(ABC):
    """How a split of a data set becomes clips."""

    @abstractmethod
    def jobs(self, source: Source, split: str, gop: int) -> list[ClipJob]:
        """The clips of a split."""


@dataclass(frozen=True)
class Clip:
    """A prepared clip.

    Attributes:
        name: for messages and results.
        film: written by `src.video.encode`, an I frame every `gop` frames.
        labels: .npz with one index picture (H, W) uint8 per labelled frame, named by the frame's index.
        start: index of the first frame in the sequence the clip was cut from.
        length: frames.
        gop: frames from keyframe to keyframe.
        labelled: indices of labelled frames.
    """

    name: str
    film: Path
    labels: Path
    start: int
    length: int
    gop: int
    labelled: tuple[int, ...]

    def read_labels(self, index: int) -> Picture:
        """Labels (H, W) of one labelled frame."""
        with np.load(self.labels) as archive:
            labels: Picture = archive[str(index)]
        return labels


def prepare(jobs: list[ClipJob], encoding: Encoding, cache: Path, workers: int) -> list[Clip]:
    """The clips of all jobs, in order; those not in the cache are made, by `workers` processes.

    A clip counts as made when its `.json` exists, which is written last; so a run that is killed loses at most
    the clips in work.

    Raises:
        UserError: the cache cannot be made or written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"paths.cache '{cache}' cannot be made ({error.strerror}); give another folder") from error
    places = [cache / clip_key(job, encoding) for job in jobs]
    missing = [(j, p) for j, p in zip(jobs, places, strict=True) if not p.with_suffix(".json").exists()]
    if missing:
        if not os.access(cache, os.W_OK):
            raise UserError(f"paths.cache '{cache}' is read-only and lacks {len(missing)} clips; give another folder")
        log.info("preparing %d of %d clips in %s", len(missing), len(jobs), cache)
        _make_all(missing, encoding, workers)
    return [_load(job, place, encoding) for job, place in zip(jobs, places, strict=True)]


def clip_key(job: ClipJob, encoding: Encoding) -> str:
    """Hash of all that decides a clip's bytes: job, encoding, code and library versions."""
    code = [_meaning(module) for module in (*job.makers(), encode, colour)]
    libraries = [av.__version__, av.library_versions, cv2.__version__, np.__version__]
    parts = [job.name, job.identity(), asdict(encoding), code, libraries]
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()[:24]


@functools.cache
def _meaning(module: ModuleType) -> str:
    """What a module's code does: its syntax tree, which comments and formatting leave as it is."""
    return ast.dump(ast.parse(inspect.getsource(module)))


def _make_all(missing: list[tuple[ClipJob, Path]], encoding: Encoding, workers: int) -> None:
    # spawn: a forked child of a process that already runs torch threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, workers), mp_context=context) as pool:
        results = pool.map(_make, missing, [encoding] * len(missing))
        done: Iterable[None] = results
        if sys.stdout.isatty():
            done = track(results, description="preparing clips", total=len(missing))
        spoke = time.monotonic()
        for count, _ in enumerate(done, start=1):
            if not sys.stdout.isatty() and (time.monotonic() - spoke > 30 or count == len(missing)):
                log.info("prepared %d/%d clips", count, len(missing))
                spoke = time.monotonic()


def _make(job_and_place: tuple[ClipJob, Path], encoding: Encoding) -> None:
    cv2.setNumThreads(0)
    job, place = job_and_place
    labels: dict[str, Picture] = {}
    length = 0

    def pictures() -> Iterator[Picture]:
        nonlocal length
        for picture, label in job.frames():
            if label is not None:
                labels[str(length)] = label
            length += 1
            yield picture

    encode.encode(pictures(), place.with_suffix(".mp4"), encoding)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.npz")
    np.savez_compressed(temporary, **labels)  # type: ignore[arg-type]
    os.replace(temporary, place.with_suffix(".npz"))
    record = {"name": job.name, "length": length, "labelled": sorted(map(int, labels))}
    temporary = place.with_name(f".{place.name}.{os.getpid()}.json")
    temporary.write_text(json.dumps(record))
    os.replace(temporary, place.with_suffix(".json"))


def _load(job: ClipJob, place: Path, encoding: Encoding) -> Clip:
    record = json.loads(place.with_suffix(".json").read_text())
    return Clip(
        job.name,
        place.with_suffix(".mp4"),
        place.with_suffix(".npz"),
        job.start,
        record["length"],
        encoding.gop,
        tuple(record["labelled"]),
    )
