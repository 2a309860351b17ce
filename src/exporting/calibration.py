"""Record the inputs of exported graphs over the frames of a stream: the samples that int8 is calibrated with."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.exporting.segmenter import ExportedSegmenter
from src.models.video import FrameInput

SAMPLES = 32  # per graph: statistics of activations settle early in dense prediction


def recorded(exported: ExportedSegmenter, frames: Iterable[FrameInput]) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """Inputs of each graph, state included, over the frames of one stream, until each has `SAMPLES` or they end."""
    found: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in exported.runs}
    state = exported.init_state()
    for frame in chain.from_iterable(map(exported.variants, frames)):
        name = exported.next_graph(frame, state)
        arrays = exported.arrays(frame, state)
        if len(found[name]) < SAMPLES:
            found[name].append({key: np.array(value) for key, value in arrays.items()})
        state = exported.step(frame, state)[1]
        if all(len(samples) == SAMPLES for samples in found.values()):
            break
    return found
