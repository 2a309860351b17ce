"""Compile the CPU kernels for this machine, before the first video: `python -m scripts.compile_kernels`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from src.video.types import CodecSettings
from src.video.writing.encode import encode

FRAMES, SIZE = 4, (96, 128)
PRECISIONS = ("fp32", "bf16")  # whose kernels differ


def main() -> None:
    """Segment a tiny video once for each kind of motion and precision; the kernels stay beside the code."""
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "noise.mp4"
        encode((np.roll(noise, 3 * n, 1) for n in range(FRAMES)), video, CodecSettings("h264", FRAMES, 25, crf=23))
        for motion, precision in zip(("exact", "estimate"), PRECISIONS, strict=True):
            command = [sys.executable, "-m", "src.predict", f"source={video}", f"output={folder}/{precision}"]
            command += [f"video.motion={motion}", "device=cpu", "backend=torch", f"precision={precision}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
