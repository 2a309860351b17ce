"""Times of networks on their device, frame by frame, in rounds in which they take turns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src.models.arseg.net import ARSeg
from src.models.tdnet.net import TDNet
from src.models.video import constant_resolution
from src.ops.resize import resize

# Times of one round: the kind of each frame ("key", "start", "nonkey") and its milliseconds.
Round = list[tuple[str, float]]


@dataclass(frozen=True)
class Subject:
    """A network and the frames that one round of it consists of.

    Attributes:
        net: in eval mode, on its device.
        scale: by which single-frame networks see pictures shrunk.
        kinds: "key" for a frame without past, "start" where TDNet lacks part of its history, "nonkey" otherwise.
        lasting: the kinds that a long film consists of.
    """

    name: str
    net: nn.Module
    scale: float
    kinds: tuple[str, ...]
    lasting: tuple[str, ...]

    def step(self, kind: str, image: Tensor, motion: Tensor, state: Any) -> Any:
        """The state after one frame (1, 3, H, W) with motion (1, 2, H, W); its logits are computed."""
        if isinstance(self.net, ARSeg):
            return self.net.step(image, state, None if kind == "key" else motion)[1]
        if isinstance(self.net, TDNet):
            return self.net.step(image, self.net.init_state() if kind == "key" else state)[1]
        constant_resolution(self.net, image, self.scale)
        return None


def subjects_of(net: nn.Module, gop: int, scale: float) -> list[Subject]:
    """What is timed for a network; AR-Seg beside its own high branch at constant full resolution."""
    if isinstance(net, ARSeg):
        frames = ("key", *("nonkey",) * (gop - 1))
        constant = Subject("constant", net.high, 1.0, ("key",) * gop, ("key",))
        return [Subject("AR", net, net.lr_scale, frames, ("key", "nonkey")), constant]
    if isinstance(net, TDNet):
        turn = net.num_paths
        frames = ("key", *("start",) * (turn - 2), *("nonkey",) * turn)
        return [Subject("TDNet", net, 1.0, frames, ("nonkey",))]
    return [Subject("constant", net, scale, ("key",), ("key",))]


@torch.inference_mode()
def measure(
    subjects: list[Subject], size: tuple[int, int], device: torch.device, warmup: int, rounds: int, channels_last: bool
) -> list[list[Round]]:
    """Rounds of each subject after `warmup` unmeasured ones, from picture to logits, both on the device."""
    image, motion = (x.to(device) for x in inputs(size))
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    times: list[list[Round]] = [[] for _ in subjects]
    for number in range(warmup + rounds):
        order = list(zip(subjects, times, strict=True))
        for subject, found in order if number % 2 else reversed(order):
            found.append(_round(subject, image, motion, device))
    return [found[warmup:] for found in times]


def _round(subject: Subject, image: Tensor, motion: Tensor, device: torch.device) -> Round:
    state, found = None, []
    for kind in subject.kinds:
        synchronise(device)
        started = time.perf_counter()
        state = subject.step(kind, image, motion, state)
        synchronise(device)
        found.append((kind, 1000 * (time.perf_counter() - started)))
    return found


def inputs(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A random picture (1, 3, H, W) and smooth motion (1, 2, H, W) of some pixels: what is fetched is not in order."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *size, generator=generator)
    motion = 8 * torch.randn(1, 2, 5, 9, generator=generator)
    return image, resize(motion, size)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def statistics(rounds: list[Round], lasting: tuple[str, ...]) -> dict[str, dict[str, float] | None]:
    """Median and 95th percentile (ms) of "key" and "nonkey" frames, and of the rounds' means over `lasting` kinds."""
    frames = [frame for one in rounds for frame in one]
    by_kind = {kind: [ms for k, ms in frames if k == kind] for kind in ("key", "nonkey")}
    return {**{kind: _quantiles(ms) for kind, ms in by_kind.items()}, "amortised": _quantiles(means(rounds, lasting))}


def means(rounds: list[Round], lasting: tuple[str, ...]) -> list[float]:
    """Mean milliseconds of each round's frames of the `lasting` kinds."""
    return [float(np.mean([ms for kind, ms in one if kind in lasting])) for one in rounds]


def ratio(first: list[float], second: list[float]) -> float:
    """Median over rounds of the ratio of two subjects' means."""
    return round(float(np.median(np.divide(first, second))), 4)


def _quantiles(milliseconds: list[float]) -> dict[str, float] | None:
    if not milliseconds:
        return None
    median, p95 = np.percentile(milliseconds, [50, 95])
    return {"median": round(float(median), 3), "p95": round(float(p95), 3)}
