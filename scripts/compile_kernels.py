"""Compile the CPU kernels for this machine, before the first video: `python -m scripts.compile_kernels`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

FRAMES, SIZE = 4, (96, 128)
PRECISIONS = ("fp32", "bf16")  # whose kernels differ


def write_noise(path: Path) -> None:
    """Write an H.264 video whose frames between keyframes have motion vectors."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"bf": "0", "refs": "1"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        image = rng.integers(0, 255, (*SIZE, 3), np.uint8)
        for _ in range(FRAMES):
            image = np.roll(image, 3, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    """Segment a tiny video once for each kind of motion and precision; the kernels stay beside the code."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "noise.mp4"
        write_noise(video)
        for motion, precision in zip(("exact", "estimate"), PRECISIONS, strict=True):
            command = [sys.executable, "-m", "src.predict", f"source={video}", f"output={folder}/{precision}"]
            command += [f"video.motion={motion}", "device=cpu", "backend=torch", f"precision={precision}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
