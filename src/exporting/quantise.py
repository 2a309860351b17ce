"""Post-training quantisation to int8 by NNCF, calibrated on the frames that a method meets."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.exporting.segmenter import ExportedSegmenter
from src.models.video import FrameInput

SAMPLES = 32  # per graph: statistics of activations settle early in dense prediction
log = logging.getLogger(__name__)


def recorded(exported: ExportedSegmenter, frames: Iterable[FrameInput]) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """Inputs of each graph, state included, over the frames of one stream, until each has `SAMPLES` or they end."""
    found: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in exported.runs}
    state = exported.init_state()
    for frame in frames:
        name = exported.next_graph(frame, state)
        arrays = exported.arrays(frame, state)
        if len(found[name]) < SAMPLES:
            found[name].append({key: np.array(value) for key, value in arrays.items()})
        state = exported.step(frame, state)[1]
        if all(len(samples) == SAMPLES for samples in found.values()):
            break
    return found


def quantised(model: Any, samples: list[dict[str, NDArray[Any]]]) -> Any:
    """Quantise the convolutions of a model of ONNX or OpenVINO; attention and resizing keep their precision.

    Args:
        model: of `Runtime.convert`, in fp32.
        samples: its inputs.
    """
    import nncf

    read = set(_inputs(model))
    samples = [{key: array for key, array in sample.items() if key in read} for sample in samples]

    logging.getLogger("nncf").setLevel(logging.ERROR)
    kept = nncf.IgnoredScope(types=["MatMul"], validate=False)
    return nncf.quantize(
        model,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,  # symmetric weights; activations as they are
        subset_size=len(samples),
        ignored_scope=kept,
    )


def _inputs(model: Any) -> list[str]:
    """Names of a model's inputs."""
    if hasattr(model, "graph"):  # onnx.ModelProto
        return [port.name for port in model.graph.input]
    return [port.any_name for port in model.inputs]
