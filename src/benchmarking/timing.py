"""The timed half of `src.benchmark`: a network in its fastest honest form, and what it took where."""

from __future__ import annotations

import logging
import platform
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from src.benchmarking.latency import Round, Subject, means, measure, ratio, statistics, subjects_of
from src.benchmarking.video_latency import measure_film
from src.inference.device import choose_device, choose_threads
from src.metrics.stream_cost import Stream
from src.models.arseg.net import ARSeg
from src.models.deploy.fold_batchnorm import fold_batchnorms
from src.models.deploy.reparameterise import merge
from src.models.tdnet.net import TDNet
from src.ops.cpu.memory import keep_freed_memory

log = logging.getLogger(__name__)


def time_it(net: nn.Module, config: DictConfig, size: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds per frame by kind, and AR-Seg's share of the time of its own high branch run constantly.

    Args:
        net: on the CPU, in eval mode; it is changed.
        config: of conf/benchmark.yaml.
        size: (height, width) of the pictures; of the film, where there is one.

    Raises:
        UserError: no such device, or a film that cannot be used.
    """
    keep_freed_memory()
    device, threads = choose_device(config.device), choose_threads(config.threads)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # one or two picture sizes, so the search pays
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # fp32 is meant
    net = fastest_form(net, config.fold).to(device)
    if config.channels_last:
        net = net.to(memory_format=torch.channels_last)
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
