"""Hand the two parts of every network inside a video method to a backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from src.inference.engine.options import PLAIN, Engine
from src.inference.engine.part import NAMES, Part, Run
from src.models.base import FeatureNetwork
from src.models.video import VideoSegmenter, run_cycle

MOST_SAMPLED = 10**9  # bytes

Net = TypeVar("Net", bound=VideoSegmenter)


def accelerate(network: Net, engine: Engine, threads: int, images: Sequence[Tensor] = (), workers: int = 1) -> Net:
    """Copy a method so that the parts of its networks run on a backend; what joins them stays in torch.

    What joins the parts computes in bfloat16 as well where the engine does and the method says that it can.

    Args:
        network: in inference form, on its device.
        engine: that suits the device.
        threads: of the backend, for one run.
        images: (1, 3, H, W), what int8 is calibrated with.
        workers: threads that may run the method at the same time.
    """
    if engine == PLAIN:
        return network
    fast = deepcopy(network)
    half = engine.precision == "bf16" and network.joins_bfloat16
    between = torch.bfloat16 if half else torch.float32
    types = {"features": (torch.float32, between), "classify": (between, torch.float32)}
    parts = {(net, name): Part(net, name, *types[name]).eval() for net in feature_networks(fast) for name in NAMES}
    samples = record(fast, images) if engine.precision == "int8" else {}
    runs = {key: _made(part, engine, threads, workers, samples.get(key, [])) for key, part in parts.items()}
    for (net, name), run in runs.items():
        setattr(net, name, run)  # on the instance; the class keeps its method
    return fast


def feature_networks(network: nn.Module) -> list[FeatureNetwork]:
    """Return the networks inside a video method, each once."""
    return [module for module in network.modules() if isinstance(module, FeatureNetwork)]


@torch.inference_mode()
def record(network: VideoSegmenter, images: Sequence[Tensor]) -> dict[tuple[FeatureNetwork, str], list[Tensor]]:
    """Inputs that the parts get in one cycle over each image, as many as a gigabyte holds."""
    found: dict[tuple[FeatureNetwork, str], list[Tensor]] = {}
    with _watched(network, lambda net, name, x: found.setdefault((net, name), []).append(x)):
        for image in images:
            if sum(x.nbytes for xs in found.values() for x in xs) < MOST_SAMPLED:
                run_cycle(network, image)
    return found


@contextmanager
def _watched(network: VideoSegmenter, see: Callable[[FeatureNetwork, str, Tensor], None]) -> Iterator[None]:
    def watching(net: FeatureNetwork, name: str) -> Run:
        run: Run = getattr(net, name)

        def watched(x: Tensor) -> Tensor:
            see(net, name, x)
            return run(x)

        return watched

    nets = feature_networks(network)
    try:
        for net in nets:
            for name in NAMES:
                setattr(net, name, watching(net, name))
        yield
    finally:
        for net in nets:
            for name in NAMES:
                delattr(net, name)


def _made(part: Part, engine: Engine, threads: int, workers: int, samples: list[Tensor]) -> Run:
    if engine.backend == "openvino":
        from src.inference.engine.openvino_part import OpenVINOPart  # optional packages load where they are used

        return OpenVINOPart(part, engine.precision, threads, workers, samples)
    if engine.backend == "onnxruntime":
        from src.inference.engine.onnxruntime_part import ONNXRuntimePart

        return ONNXRuntimePart(part, threads * workers)
    from src.inference.engine.torch_part import torch_part

    return torch_part(part, engine)
