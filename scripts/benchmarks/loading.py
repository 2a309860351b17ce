"""How fast clips are loaded, by stage: `python -m scripts.benchmarks.loading [--height 720 --width 960] [--film FILM]`.

Rounds are interleaved; a line has the median of its rate and the median of its ratio to the line named, round by round.
The extractor to compare with is optional: pip install --target FOLDER --no-deps motion-vector-extractor==2.0.0, and
FOLDER in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from scripts.benchmarks.pixel_chain import pixel_chain
from src.data.clips.dataset import ClipDataset, training_candidates
from src.data.clips.files import RECORD, describe
from src.data.clips.index import Entry
from src.data.clips.table import Clips
from src.data.module import collate
from src.data.transforms import ColourJitter, TrainTransform
from src.video.motion.field import extend, identity
from src.video.reading.container import open_video
from src.video.types import CodecSettings
from src.video.vectors.exported import NO_ROWS, ExactVectors
from src.video.writing.encode import encode
from tests.support.videos import texture

GOP, FRAMES = 12, 48
Stage = Callable[[], int]  # what is timed; how many frames or clips it did


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--bitrate", type=int, default=5000, help="kbit/s of the film that is made")
    parser.add_argument("--film", type=Path, default=None, help="of `encode`, H.264, GOP 12, in place of a made one")
    parser.add_argument("--threads", type=int, default=2, help="of the decoder; workers of the loader")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        film = given.film or make_film(Path(folder) / "film.mp4", given.height, given.width, given.bitrate)
        stages = film_stages(film, given.threads) | loader_stages(film, given.threads)
        report(measure(stages, given.rounds))
        compare_with_pixel_chain(film, given.rounds)


def make_film(path: Path, height: int, width: int, bitrate: int) -> Path:
    """A drive past two textured planes with sensor noise: blocks of all sizes, some intra."""
    rng = np.random.default_rng(0)
    far, near = texture(height, 2 * width, 1), texture(height, 4 * width, 2)

    def frames() -> Iterator[np.ndarray]:
        for t in range(FRAMES):
            frame = far[:, 3 * t : 3 * t + width].copy()
            frame[height // 2 :] = near[height // 2 :, 11 * t : 11 * t + width]
            noise = cv2.resize(rng.normal(0, 3, (height // 2, width // 2, 3)).astype(np.float32), (width, height))
            yield np.clip(frame + noise, 0, 255).astype(np.uint8)

    encode(frames(), path, CodecSettings("h264", GOP, 17, bitrate=bitrate))
    return path


def film_stages(film: Path, threads: int) -> dict[str, Stage]:
    """Whole passes over the film, each with more work than the one before."""

    def decode(vectors: bool, chain: bool) -> int:
        container, stream = open_video(film, threads, coded_here=True)
        count = 0
        with container:
            exact = ExactVectors(film, stream)
            to_key, spare = identity(stream.height, stream.width), identity(stream.height, stream.width)
            if vectors:
                exact.request(stream)
            for count, picture in enumerate(container.decode(stream), start=1):
                rows = exact.of(picture, count - 1) if vectors else NO_ROWS
                if chain:  # through keyframes too, which have no vectors: no less work
                    to_key, spare = extend(to_key, rows, spare), to_key
        return count

    stages: dict[str, Stage] = {
        "decode": lambda: decode(False, False),
        "decode + vectors": lambda: decode(True, False),
        "decode + vectors + chain": lambda: decode(True, True),
    }
    if importlib.util.find_spec("mvextractor"):
        stages["motion-vector-extractor"] = lambda: extract(film)
    return stages


def extract(film: Path) -> int:
    """The vectors of the film by motion-vector-extractor."""
    from mvextractor.videocap import VideoCap

    capture, count = VideoCap(), 0
    assert capture.open(str(film))
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def loader_stages(film: Path, workers: int) -> dict[str, Stage]:
    """Training pairs at the last distance, with augmentation, by worker processes; clips rather than frames."""
    container, stream = open_video(film)
    with container:
        height, width = stream.height, stream.width
    labels = film.with_suffix(".npz")
    last = [str(key + GOP - 1) for key in range(0, FRAMES, GOP)]
    np.savez_compressed(labels, **{name: np.zeros((height, width), np.uint8) for name in last})
    clips = one_clip(film, labels, tuple(map(int, last)))
    jitter = ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.03, blur=0.1, compression=0.0)
    transform = TrainTransform((height // 2, width // 2), (0.5, 2.0), 0.5, jitter)

    def load(motion: str, transform: TrainTransform | None) -> int:
        candidates = training_candidates(clips, range(GOP - 1, GOP))
        dataset = ClipDataset(candidates, "pair", motion, transform)  # type: ignore[arg-type]
        twice = [*range(len(dataset))] * 2
        return sum(
            len(batch) for batch in DataLoader(dataset, 2, sampler=twice, num_workers=workers, collate_fn=collate)
        )

    return {
        "clips": lambda: load("exact", transform),
        "clips, no vectors": lambda: load("none", transform),
        "clips, no augmentation": lambda: load("exact", None),
    }


def one_clip(film: Path, labels: Path, labelled: tuple[int, ...]) -> Clips:
    """A table of the film as a prepared clip."""
    parts = {"film": describe(film), "labels": describe(labels)}
    record = {"name": "film", "key": film.stem, "length": FRAMES, "labelled": labelled, **parts}
    film.with_suffix(RECORD).write_text(json.dumps(record))
    job: Any = SimpleNamespace(name="film", start=0)
    settings = CodecSettings("h264", GOP, 17, crf=23)
    return Clips([job], [film.stem], [Entry(FRAMES, labelled, flat=True)], settings, film.parent)


def measure(stages: dict[str, Stage], rounds: int) -> dict[str, list[float]]:
    """Rates per second by stage and round; a first round warms up."""
    rates: dict[str, list[float]] = {name: [] for name in stages}
    for number in range(rounds + 1):
        for name, stage in stages.items():
            begin = time.perf_counter()
            count = stage()
            if number:
                rates[name].append(count / (time.perf_counter() - begin))
    return rates


def seconds(work: Callable[[], object]) -> float:
    """Of the second of two runs in a row: the first finds the caches full of what ran before it."""
    work()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def report(rates: dict[str, list[float]]) -> None:
    """One line per stage."""
    against = {"decode + vectors": "decode", "decode + vectors + chain": "decode + vectors"}
    against |= {"motion-vector-extractor": "decode + vectors", "clips": "clips, no vectors"}
    against["clips, no augmentation"] = "clips"
    for name, values in rates.items():
        line = f"{name:26} {np.median(values):8.2f} /s"
        if name in against:
            ratio = np.median(np.array(values) / np.array(rates[against[name]]))
            line += f"   {ratio:.2f} of '{against[name]}'"
        print(line, flush=True)


def compare_with_pixel_chain(film: Path, rounds: int) -> None:
    """Our chain against the one by pixels, on the same vectors rounded to whole pixels, where both must agree."""
    container, stream = open_video(film)
    with container:
        exact = ExactVectors(film, stream)
        exact.request(stream)
        rows = [exact.of(p, i) for i, p in zip(range(GOP), container.decode(stream), strict=False)][1:]
    whole = [np.concatenate([r[:, :4], np.round(r[:, 4:])], 1) for r in rows]
    size = stream.height, stream.width
    ours, spare = identity(*size), identity(*size)

    def chain() -> None:
        nonlocal ours, spare
        ours.field.fill(0), ours.valid.fill(True)
        for vectors in whole:
            ours, spare = extend(ours, vectors, spare), ours

    times = np.array([[seconds(chain), seconds(lambda: pixel_chain(whole, *size))] for _ in range(rounds)])
    theirs = pixel_chain(whole, *size)
    worst = np.abs(ours.field - theirs)[:, ours.valid].max()
    print(f"chain of {len(whole)} frames    {np.median(times[:, 0]) * 1000:8.1f} ms")
    ratio = np.median(times[:, 1] / times[:, 0])
    print(f"the same by pixels, NumPy  {np.median(times[:, 1]) * 1000:8.1f} ms   ratio {ratio:.1f}")
    print(f"largest difference where valid ({ours.valid.mean():.0%} of the pixels): {worst:.4f} px")


if __name__ == "__main__":
    main()
