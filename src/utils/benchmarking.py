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
    result = count(config, size)
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
    name = HydraConfig.get().runtime.choices["model"]
    return {"model": name, "params_train": trained, **cost, "height": size[0], "width": size[1]}


def build(config: DictConfig, device: torch.device) -> nn.Module:
    """The network of a model configuration in eval mode, with random weights."""
    node = without_initial_weights(config.model.net)
    with device:
        net: nn.Module = instantiate(node)
    return net.eval()


def time_it(config: DictConfig, size: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds per frame by kind, and AR-Seg's share of the time of its own high branch run constantly."""
    device, threads = _device(config.device), _threads(config.threads)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # one or two picture sizes, so the search pays
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # fp32 is meant
    net = fastest_form(build(config, torch.device("cpu")), config.fold).to(device)
    if config.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    subjects = subjects_of(net, config.video.gop, config.model.get("lr_scale", 1.0))
    found = _measure(config, subjects, size, device, threads)
    return {
        **_times(subjects, found),
        "rounds": 1 if config.film else config.rounds,
        "device": str(device),
        "hardware": hardware(device),
        "threads": threads,
        "precision": "fp32",
        "channels_last": config.channels_last,
        "folded": config.fold,
    }


def fastest_form(net: nn.Module, fold: bool) -> nn.Module:
    """The network itself, its re-parameterisable blocks merged and, if asked for, its batch norms folded."""
    merge(net, fold_batchnorm=False)
    if fold:
        log.info("%d batch norms folded", fold_batchnorms(net, run_all, (64, 64)))
    return net


def run_all(net: nn.Module, image: Tensor) -> Tensor:
    """Logits of the last of as many equal pictures as it takes to reach every module that inference uses."""
    if isinstance(net, ARSeg):
        logits, _ = net.step(image, net.step(image, net.init_state())[1], torch.zeros_like(image[:, :2]))
    else:
        logits = (Stream(net, 2 * net.num_paths) if isinstance(net, TDNet) else net)(image)
    return logits


def hardware(device: torch.device) -> str:
    """Name of the processor, or of the accelerator."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _measure(
    config: DictConfig, subjects: list[Subject], size: tuple[int, int], device: torch.device, threads: int
) -> list[dict[str, list[Round]]]:
    if config.film:
        return measure_film(subjects, Path(config.film), config, device, threads)
    rounds = measure(subjects, size, device, config.warmup, config.rounds, config.channels_last)
    return [{"network": times} for times in rounds]


def _times(subjects: list[Subject], found: list[dict[str, list[Round]]]) -> dict[str, Any]:
    """By step and kind; for AR-Seg also those of the constant network, and the ratio of the means over a GOP."""
    tables = [
        {step: statistics(rounds, subject.lasting) for step, rounds in times.items()}
        for subject, times in zip(subjects, found, strict=True)
    ]
    if len(subjects) == 1:
        return {"milliseconds": tables[0]}
    ratios = {
        step: ratio(*(means(times[step], subject.lasting) for subject, times in zip(subjects, found, strict=True)))
        for step in tables[0]
        if step in ("network", "total")
    }
    return {"milliseconds": tables[0], "constant_milliseconds": tables[1], "ratio_to_constant": ratios}


def _size(config: DictConfig) -> tuple[int, int]:
    if not config.film:
        return int(config.input.height), int(config.input.width)
    info = Film(config.film, motion="none").info
    return info.height, info.width


def _check_values(config: DictConfig) -> None:
    least = {"input.height": SMALLEST, "input.width": SMALLEST, "video.gop": 2, "warmup": 1, "rounds": 1, "threads": 1}
    for key, minimum in least.items():
        value = OmegaConf.select(config, key)
        if not (key == "threads" and value is None) and (not isinstance(value, int) or value < minimum):
            raise UserError(f"{key}={value} is not a number from {minimum} up; give {key}={minimum} or more")
    if config.film and not config.latency:
        raise UserError("film is given, but latency=false times nothing; leave one of them out")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device={name} cannot be used here; give device=cpu or auto") from error


def _threads(given: int | None) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(given or cores, cores)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(unfinished, path)
