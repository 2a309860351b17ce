"""An exported method beside the network that it was made of: outputs, labels and time, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import UserError
from src.exporting.segmenter import ExportedSegmenter
from src.models.video import FrameInput, VideoSegmenter

# Largest difference of logits, as a share of the largest logit; int8 is judged by its labels.
BOUNDS = {"fp32": 1e-3, "bf16": 0.1}


@dataclass(frozen=True)
class Agreement:
    """Outputs of a graph beside those of the network itself.

    Attributes:
        graph: its name.
        frames: compared.
        difference: largest of logits, as a share of the largest logit.
        equal: share of pixels with the same label.
        milliseconds: median of the runtime, from arrays to arrays.
        own_milliseconds: median of the network itself.
    """

    graph: str
    frames: int
    difference: float
    equal: float
    milliseconds: float
    own_milliseconds: float

    def as_dict(self) -> dict[str, Any]:
        """Values by name."""
        return asdict(self)


def synthetic_frames(net: VideoSegmenter, size: tuple[int, int]) -> Iterator[FrameInput]:
    """Smooth random images in two cycles, each moved against the one before, with smooth motion between keyframes."""
    image, motion, valid = synthetic_inputs(size)
    cycle = net.cycle(3)
    repeated = [kind for kind in cycle.kinds if kind in cycle.repeated]
    for number, kind in enumerate((*cycle.kinds, *repeated)):
        moves = (motion, valid) if net.uses_motion and kind != "key" else ()
        yield FrameInput(torch.roll(image, (number, 2 * number), (-2, -1)), *moves)


def synthetic_inputs(size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """A smooth image (1, 3, H, W), motion (1, 2, H, W) of some pixels, and its validity (1, H, W)."""
    generator = torch.Generator().manual_seed(0)
    image = F.interpolate(torch.randn(1, 3, 12, 16, generator=generator), size, mode="bicubic")
    motion = F.interpolate(8 * torch.randn(1, 2, 5, 9, generator=generator), size, mode="bilinear")
    valid = F.interpolate(torch.rand(1, 1, 9, 12, generator=generator), size)[:, 0] < 0.9
    return image, motion, valid


@torch.inference_mode()
def compare(
    net: VideoSegmenter, exported: ExportedSegmenter, frames: Iterable[FrameInput], rounds: int = 1
) -> list[Agreement]:
    """Run both over the same frames, and those between keyframes also left to their motion; one row per graph.

    Args:
        net: in inference form, on the CPU.
        exported: made of it.
        frames: of one stream.
        rounds: how often each frame is run for its time.
    """
    own_state, state = net.init_state(), exported.init_state()
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for frame in chain.from_iterable(map(exported.variants, frames)):
        name = exported.next_graph(frame, state)
        times: list[tuple[float, float]] = []
        for _ in range(rounds):
            started = time.perf_counter()
            expected, own_after = net.step(frame, own_state)
            between = time.perf_counter()
            actual, after = exported.step(frame, state)
            times.append((between - started, time.perf_counter() - between))
        own_state, state = own_after, after
        difference = float((expected - actual).abs().max()) / max(float(expected.abs().max()), 1e-12)
        equal = float((expected.argmax(1) == actual.argmax(1)).float().mean())
        own_ms, ms = 1000 * np.median(times, 0)
        found.setdefault(name, []).append((difference, equal, float(ms), float(own_ms)))
    rows = []
    for name, values in found.items():
        differences, equals, ms, own = np.array(values).T
        medians = float(np.median(ms)), float(np.median(own))
        rows.append(Agreement(name, len(values), float(differences.max()), float(equals.mean()), *medians))
    return rows


def check(rows: Iterable[Agreement], precision: str) -> None:
    """Reject graphs that do not give what the network gives.

    Raises:
        UserError: a difference beyond the bound of the precision.
    """
    bound = BOUNDS.get(precision)
    for row in rows:
        if bound is not None and not row.difference <= bound:
            raise UserError(
                f"graph '{row.graph}' differs from the network by {row.difference:.1e} of the largest logit, more than "
                f"{bound:g} of precision={precision}, and nothing is written; give another format= or precision=fp32"
            )
