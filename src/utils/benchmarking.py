"""What `src.benchmark` does: count a network, time it, write both down."""

from __future__ import annotations

import json
import logging
import os
import platform
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from src.errors import UserError
from src.metrics.cost import count_parameters
from src.metrics.stream_cost import Stream, inference_cost
from src.models.arseg.net import ARSeg
from src.models.folding import fold_batchnorms
from src.models.rdrnet.deploy import merge
from src.models.tdnet.net import TDNet
from src.utils.checkpoints import without_initial_weights
from src.utils.config import check_keys, instantiate, plain
from src.utils.film_latency import measure_film
from src.utils.latency import Round, Subject, means, measure, ratio, statistics, subjects_of
from src.utils.provenance import provenance, write_provenance
from src.video.decode import Film

log = logging.getLogger(__name__)

SMALLEST = 32  # pixels: the deepest stride


def benchmark(config: DictConfig) -> dict[str, Any]:
    """Write `metrics/benchmark.json` into the run directory and print its result as one line of JSON.

    Raises:
        UserError: unknown keys, or values out of range.
    """
    check_keys(config)
    _check_values(config)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    write_provenance(run_dir, plain(config))
    size = _size(config)
    result = {**count(config, size), "height": size[0], "width": size[1]}
    if config.latency:
        result["latency"] = time_it(config, size)
    _write(run_dir / "metrics" / "benchmark.json", {"result": result, "provenance": provenance()})
    print(json.dumps(result))
    return result


def count(config: DictConfig, size: tuple[int, int]) -> dict[str, Any]:
    """Parameters in training form, and the cost of the form that is run; nothing is computed."""
    net = build(config, torch.device("meta"))
    trained = sum(p.numel() for p in net.parameters())
    merge(net, fold_batchnorm=False)
    cost = inference_cost(net, size, config.video.gop, config.model.get("lr_scale", 1.0)).as_dict()
    return {"model": HydraConfig.get().runtime.choices["model"], "params_train": trained, **cost}


def build(config: DictConfig, device: torch.device) -> nn.Module:
    """The network of a model configuration in eval mode, with random weights."""
    node = without_initial_weights(config.model.net)
    with device:
        net: nn.Module = instantiate(node)
    return net.eval()
