"""Time reading motion vectors without images, beside motion-vector-extractor 2 in its own vectors-only mode.

python -m scripts.benchmarks.vectors VIDEO [--rounds 5] [--extractor FOLDER]; FOLDER is that of
`pip install --target FOLDER motion-vector-extractor`, as its own OpenCV must not replace the one installed here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from src.video.reading.container import open_video
from src.video.vectors.exported import ExactVectors


def read_vectors(path: Path, threads: int) -> int:
    """Number of vectors, each read as (x0, y0, w, h, dx, dy); neither the residual nor the loop filter is computed."""
    container, stream = open_video(path, threads)
    with container:
        exact = ExactVectors(path, stream)
        exact.request(stream)
        stream.codec_context.options = {"skip_idct": "all", "skip_loop_filter": "all"}
        return sum(len(exact.of(frame, index)) for index, frame in enumerate(container.decode(stream)))


def extract(path: Path) -> int:
    """The same by motion-vector-extractor."""
    from mvextractor.videocap import VideoCap  # type: ignore[import-not-found]

    video, count = VideoCap(), 0
    assert video.open(str(path))
    video.set_decode_frames(False)
    while (found := video.read())[0]:
        count += len(found[2])
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--extractor", type=Path)
    given = parser.parse_args()
    runs: dict[str, Callable[[], int]] = {f"{n} threads": lambda n=n: read_vectors(given.video, n) for n in (1, 2)}
    if given.extractor:
        sys.path.append(str(given.extractor))
        runs["motion-vector-extractor"] = lambda: extract(given.video)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            count = run()
            seconds[name].append(time.perf_counter() - started)
            print(f"{name}: {count} vectors, {seconds[name][-1]:.3f} s", file=sys.stderr)
    for name, times in seconds.items():
        print(f"{name:24s} {statistics.median(times[1:]):.3f} s")


if __name__ == "__main__":
    main()
