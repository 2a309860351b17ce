"""Measure what AR-Seg computes besides its network, at 720x960: `python -m scripts.benchmarks.fusion [--threads 2]`.

Printed are the shortest and the median time of CReFF in float32 and bfloat16, of its steps in torch, of shrinking the
image, and of logits to labels, in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from src.data.batch import normalise
from src.data.images import Normalisation
from src.models.arseg.fusion import CReFF, motion_reliability
from src.ops.cpu.memory import keep_freed_memory
from src.ops.resize import downscale, labels_of, resize
from src.ops.warp import motion_at

SIZE = 720, 960
FUSIONS = {"light network": (64, 4, "gate"), "BiSeNet-18": (256, 8, "residual"), "PSPNet-18": (512, 8, "residual")}
CLASSES = 11


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    parts = _parts()
    times: dict[str, list[float]] = {name: [] for name in parts}
    for part in parts.values():
        part()  # compiles
    for _ in range(given.rounds):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            times[name].append(1000 * (time.perf_counter() - started))
    for name, found in times.items():
        print(f"{name:45} {min(found):7.2f} {np.median(found):7.2f} ms")


def _parts() -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    motion, valid = resize(8 * torch.randn(1, 2, 5, 9), SIZE), torch.rand(1, *SIZE) < 0.95
    frame = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    looks = Normalisation((0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    image = normalise(frame, looks)
    parts: dict[str, Callable[[], object]] = {
        "normalise": lambda: normalise(frame, looks),
        "downscale": lambda: downscale(image, 0.5),
    }
    for name, (channels, stride, mix) in FUSIONS.items():
        height, width = SIZE[0] // stride, SIZE[1] // stride
        fusion = CReFF(channels, mix=mix, init="identity").eval()  # type: ignore[arg-type]
        for dtype in (torch.float32, torch.bfloat16):
            low, key = (
                torch.randn(1, channels, *size).to(dtype=dtype, memory_format=torch.channels_last)
                for size in ((height // 2, width // 2), (height, width))
            )
            parts[f"CReFF, {name}, {dtype}"] = lambda f=fusion, x=low, y=key: f(x, y, motion, valid)  # type: ignore[misc]
        logits = torch.randn(1, CLASSES, height, width).contiguous(memory_format=torch.channels_last)
        parts[f"motion to features, {name}"] = lambda s=(height, width): motion_at(s, motion, valid)  # type: ignore[misc]
        parts[f"logits to labels, {name}"] = lambda x=logits: labels_of(x, SIZE)  # type: ignore[misc]
        parts[f"the same, logits written, {name}"] = lambda x=logits: resize(x, SIZE).argmax(1)  # type: ignore[misc]
    small, known = motion_at((180, 240), motion, valid)
    parts["reliability of motion, light network"] = lambda: motion_reliability(small, known)
    return parts


if __name__ == "__main__":
    main()
