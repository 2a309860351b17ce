"""Times of methods on their device, frame by frame, in rounds in which they take turns."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from src.inference.engine.cuda_graphs import Labeller, labeller
from src.models.video import FrameInput, VideoSegmenter
from src.ops.resize import resize, size_of

# Times of one round: the kind of each frame ("key", "start", "nonkey", "warp") and its milliseconds.
Round = list[tuple[str, float]]


@torch.inference_mode()
def measure(
    networks: list[VideoSegmenter],
    size: tuple[int, int],
    gop: int,
    device: torch.device,
    warmup: int,
    rounds: int,
    channels_last: bool,
) -> list[list[Round]]:
    """Rounds of each network after `warmup` unmeasured ones, from image to labels, both on the device.

    A round of the first network is one of its cycles; the others repeat theirs for as many frames.
    """
    image, motion = (x.to(device) for x in inputs(size))
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    frames = len(networks[0].cycle(gop).kinds)
    cycles = [max(1, frames // len(net.cycle(gop).kinds)) for net in networks]
    labellers = [labeller(net, device) for net in networks]
    times: list[list[Round]] = [[] for _ in networks]
    for number in range(warmup + rounds):
        order = list(zip(networks, labellers, cycles, times, strict=True))
        for net, labels, repeats, found in order if number % 2 else reversed(order):
            kinds = net.cycle(gop).kinds
            found.append([frame for _ in range(repeats) for frame in _cycle(net, labels, kinds, image, motion)])
    return [found[warmup:] for found in times]


def _cycle(net: VideoSegmenter, labels: Labeller, kinds: tuple[str, ...], image: Tensor, motion: Tensor) -> Round:
    state, found, device = net.init_state(), [], image.device
    for kind in kinds:
        frame = FrameInput(image, motion if net.uses_motion and kind != "key" else None)
        synchronise(device)
        started = time.perf_counter()
        _, state = labels(frame, state, size_of(image))
        synchronise(device)
        found.append((kind, 1000 * (time.perf_counter() - started)))
    return found


def inputs(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A random image (1, 3, H, W) and smooth motion (1, 2, H, W) of some pixels, so that reads are not in order."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *size, generator=generator)
    motion = 8 * torch.randn(1, 2, 5, 9, generator=generator)
    return image, resize(motion, size)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def statistics(rounds: list[Round], repeated: tuple[str, ...]) -> dict[str, dict[str, float] | None]:
    """Median and high percentiles (ms) by kind of frame, and of the rounds' means over `repeated` kinds.

    Kinds are "key" and "nonkey", and "warp" where there are such frames.
    """
    frames = [frame for one in rounds for frame in one]
    by_kind = {kind: [ms for k, ms in frames if k == kind] for kind in ("key", "nonkey", "warp")}
    if not by_kind["warp"]:
        del by_kind["warp"]
    return {**{kind: _quantiles(ms) for kind, ms in by_kind.items()}, "amortised": _quantiles(means(rounds, repeated))}


def means(rounds: list[Round], repeated: tuple[str, ...]) -> list[float]:
    """Mean milliseconds of each round's frames of the `repeated` kinds."""
    return [float(np.mean([ms for kind, ms in one if kind in repeated])) for one in rounds]


def ratio(first: list[float], second: list[float]) -> float:
    """Median over rounds of the ratio of two methods' means."""
    return round(float(np.median(np.divide(first, second))), 4)


def _quantiles(milliseconds: list[float]) -> dict[str, float] | None:
    if not milliseconds:
        return None
    shown = {"median": 50, "p95": 95, "p99": 99}
    return {name: round(float(np.percentile(milliseconds, share)), 3) for name, share in shown.items()}
