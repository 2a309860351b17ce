"""Measure a training's start-up at many prepared clips: `python -m scripts.benchmarks.startup [--clips 100000]`.

The cache is made of empty clips with records as `src.prepare` writes them; images and labels are files that are looked
at, as in a data set of still images. Printed are the time of each step and the memory that the process gained by it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from src.data.clips.cache import clip_key, prepare
from src.data.clips.dataset import training_candidates
from src.data.clips.files import TOOLS, place_of
from src.data.clips.index import write_manifest
from src.data.clips.recipes import AnimatedClipJob
from src.data.datasets.files import ImageFile
from src.data.labels import IndexCoding
from src.data.sampling import EpochSampler
from src.data.still_animation.layers import SceneRoles
from src.data.still_animation.motion import SceneMotion
from src.video.types import CodecSettings

GOP = 12
ENCODING = CodecSettings("h264", GOP, 17, crf=23)
EMPTY = {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None, help="of an earlier run, to be used again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if not (folder / "cache").exists():
            make(folder, given.clips)
        measure(folder, given.clips)


def jobs_of(folder: Path, count: int) -> list[AnimatedClipJob]:
    """One clip per still image."""
    coding, motion, roles = IndexCoding(((0, 0), (1, 1)), (255,)), SceneMotion(), SceneRoles()
    images = [
        ImageFile(f"city/{n:06d}", folder / "images" / f"{n:06d}.png", folder / "labels" / f"{n:06d}.png", coding)
        for n in range(count)
    ]
    return [AnimatedClipJob(f"{i.name}_v0_from00", 0, GOP, i, n, motion, roles) for n, i in enumerate(images)]


def make(folder: Path, count: int) -> None:
    """Empty images, labels and clips."""
    for name in ("images", "labels", "cache"):
        (folder / name).mkdir(parents=True)
    for n in range(count):
        for name in ("images", "labels"):
            (folder / name / f"{n:06d}.png").touch()
    for job in jobs_of(folder, count):
        key = clip_key(job, ENCODING)
        record = {
            "name": job.name, "key": key, "start": 0, "length": GOP, "labelled": list(range(GOP)), "keyframes": [0],
            "psnr_y": 40.123, "source": EMPTY["sha256"], "tools": TOOLS, "film": EMPTY, "labels": EMPTY,
            "encoding": {k: v if k != "fps" else str(v) for k, v in asdict(ENCODING).items()},
        }  # fmt: skip
        place = place_of(folder / "cache", key)
        place.parent.mkdir(exist_ok=True)
        place.with_suffix(".mp4").touch()
        place.with_suffix(".npz").touch()
        place.with_suffix(".json").write_text(json.dumps(record, sort_keys=True) + "\n")
    with step("manifest"):
        write_manifest(folder / "cache")


def measure(folder: Path, count: int) -> None:
    """The steps of a process that starts to train with data.module.distance=balanced."""
    kept: list[Any] = []
    with step("jobs"):
        jobs = jobs_of(folder, count)
    for number in ("first", "second"):
        with step(f"prepare, {number} call"):
            clips = prepare(jobs, ENCODING, folder / "cache", 0)  # type: ignore[arg-type]
    with step("candidates"):
        kept.append(training_candidates(clips, range(1, GOP)))
    with step("candidates, balanced"):
        kept.append(kept[0].one_per_frame())
    with step("sampler, balanced"):
        kept.append(EpochSampler(count, True, 0, kept[1].distances()))
    with step("an epoch's order"):
        drawn = iter(kept[2])
        next(drawn)
    draw_in_worker(kept[1])


def draw_in_worker(candidates: Any) -> None:
    """What a forked worker's private memory becomes by looking at candidates."""
    read, write = os.pipe()
    if os.fork() == 0:
        before = memory("Private_Dirty")
        order = torch.randperm(len(candidates))[:200_000]
        for index in order.tolist():
            candidates[index]
        os.write(write, f"{memory('Private_Dirty') - before:.0f}".encode())
        os._exit(0)
    os.wait()
    print(f"private memory of a worker after 200,000 draws: {os.read(read, 100).decode()} MB")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print time and memory of a step."""
    begin, computed, before = time.perf_counter(), time.process_time(), memory("Rss")
    yield
    seconds, of_core = time.perf_counter() - begin, time.process_time() - computed
    print(f"{name:24} {seconds:7.2f} s ({of_core:6.2f} of a core) {memory('Rss') - before:7.0f} MB", flush=True)


def memory(kind: str) -> float:
    """Of this process, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1000


if __name__ == "__main__":
    main()
