"""Post-training quantisation to int8 by NNCF."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def quantised(model: Any, samples: Sequence[dict[str, NDArray[Any]]]) -> Any:
    """Quantise the convolutions of a model of ONNX or OpenVINO; attention and resizing keep their precision.

    Args:
        model: onnx.ModelProto or openvino.Model, in fp32, the latter after a call of `openvino_core`.
        samples: inputs by name, of which a model may read some.
    """
    import nncf  # slow to load

    if hasattr(model, "graph"):
        read = {port.name for port in model.graph.input}
    else:
        read = {port.any_name for port in model.inputs}
    samples = [{name: array for name, array in sample.items() if name in read} for sample in samples]
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf.quantize(
        model,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,  # symmetric weights; activations as they are
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(types=["MatMul"], validate=False),
    )
