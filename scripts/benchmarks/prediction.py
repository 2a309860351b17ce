"""Measure `src.predict` as it is run: memory over a long video, and several streams in one process.

    python -m scripts.benchmarks.prediction memory CHECKPOINT VIDEO [--minutes 10] [--height 96] [KEY=VALUE ..]
    python -m scripts.benchmarks.prediction streams CHECKPOINT VIDEO .. [--rounds 3] [--frames 60] [KEY=VALUE ..]

`memory` repeats a video, made small, and prints the largest resident memory in each minute of it. `streams` segments
videos in one process with all threads and in one process for each with its share of them, in turns. Printed are the
seconds from start to end of all processes, and the steady frames per second, without start and choice of engine.
KEY=VALUE are keys of `src.predict`. Both need ffmpeg.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from src.inference.device import choose_threads

MINUTE = 1500  # frames, at 25 per second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=("memory", "streams"))
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("given", nargs="+", help="videos, and keys of src.predict")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=60)
    given = parser.parse_intermixed_args()
    keys = [one for one in given.given if "=" in one]
    videos = [Path(one) for one in given.given if "=" not in one]
    with tempfile.TemporaryDirectory() as temporary:
        if given.form == "memory":
            measure_memory(given.checkpoint, videos[0], Path(temporary), given.minutes, given.height, keys)
        else:
            compare_streams(given.checkpoint, videos, Path(temporary), given.rounds, given.frames, keys)


def measure_memory(
    checkpoint: Path, video: Path, folder: Path, minutes: int, height: int, keys: list[str]
) -> list[float]:
    """Print the largest resident memory, in MB, in each minute of a long video, and return it."""
    part, long, output = folder / "part.mp4", folder / "long.mp4", folder / "output"
    frames = ["-an", "-r", "25", "-vf", f"scale=-2:{height}", "-x264-params", "bframes=2:keyint=48"]
    _ffmpeg("-t", "10", "-i", str(video), *frames, str(part))
    _ffmpeg("-stream_loop", "-1", "-i", str(part), "-c", "copy", "-t", str(60 * minutes), str(long))
    largest = [0.0] * minutes
    with _predict(checkpoint, str(long), output, keys) as process:
        done, lines = 0, output / ".partial" / "results.jsonl"
        read = None
        while process.poll() is None:
            time.sleep(0.2)
            if read is None and lines.exists():
                read = lines.open()
            if read is not None:
                done += read.read().count("\n")
                status = Path(f"/proc/{process.pid}/status").read_text().partition("VmRSS:")[2]
                minute = min(done // MINUTE, minutes - 1)
                largest[minute] = max(largest[minute], int(status.split()[0]) / 1000 if status else 0.0)
    print("MB in each minute:", " ".join(f"{mb:.0f}" for mb in largest))
    print(f"from the first minute to the largest after it: {100 * (max(largest[1:]) / largest[0] - 1):+.1f} %")
    print(f"from the second to the last: {100 * (largest[-1] / largest[1] - 1):+.1f} %")
    return largest


def compare_streams(
    checkpoint: Path, videos: list[Path], folder: Path, rounds: int, frames: int, keys: list[str]
) -> tuple[float, float]:
    """Print seconds and steady frames per second of both forms; return both ratios in favour of the one process.

    Each round is run at one and at three times the number of frames: what the further ones take is the steady rate,
    without the start, which several processes share out differently.
    """
    parts = {count: [folder / f"{count}_{n}.mp4" for n in range(len(videos))] for count in (frames, 3 * frames)}
    for count, paths in parts.items():
        for path, video in zip(paths, videos, strict=True):
            _ffmpeg("-stream_loop", "-1", "-i", str(video), "-an", "-c", "copy", "-frames:v", str(count), str(path))
    threads = choose_threads(None)
    share = f"threads={max(1, threads // len(videos))}"
    together, apart = [f"threads={threads}", f"streams={len(videos)}", *keys], [share, *keys]
    seconds: dict[str, list[float]] = {"together": [], "apart": []}
    rates: dict[str, list[float]] = {"together": [], "apart": []}
    for turn in range(rounds):
        for form in ("together", "apart") if turn % 2 else ("apart", "together"):
            took = []
            for count, paths in parts.items():
                output = folder / f"{form}{turn}_{count}"
                began = time.perf_counter()
                if form == "together":
                    running = [_predict(checkpoint, f"[{','.join(map(str, paths))}]", output, together)]
                else:
                    running = [_predict(checkpoint, str(path), output / path.name, apart) for path in paths]
                codes = [process.wait() for process in running]
                if any(codes):
                    sys.exit(f"src.predict ended with {codes}")
                took.append(time.perf_counter() - began)
            seconds[form].append(took[0])
            rates[form].append(2 * frames * len(videos) / (took[1] - took[0]))
    for form in seconds:
        print(
            f"{form}: {frames} frames each in {median(seconds[form]):.1f} s; {median(rates[form]):.1f} further frames/s"
        )
    whole = median(a / t for t, a in zip(seconds["together"], seconds["apart"], strict=True))
    steady = median(t / a for t, a in zip(rates["together"], rates["apart"], strict=True))
    print(f"one process with {threads} threads over {len(videos)} with {share}: {whole:.2f}x, steady {steady:.2f}x")
    return whole, steady


def _predict(checkpoint: Path, source: str, output: Path, keys: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "src.predict", f"checkpoint={checkpoint}", f"source={source}", f"output={output}"]
    return subprocess.Popen([*command, *keys], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", *arguments], stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
