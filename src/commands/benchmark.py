"""Command `src.benchmark`: count and time a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.benchmarking.timing import TimingOptions, time_it
from src.benchmarking.video_latency import TimedVideo
from src.cli.config import plain
from src.commands.provenance import provenance, write_provenance
from src.errors import LONGEST_SIDE, UserError, check_choice, check_whole
from src.files import as_json, write_json
from src.inference.budget import BUDGETED, budget_of, check_can_warp
from src.inference.device import choose_device, choose_threads
from src.inference.engine.options import candidates
from src.inference.spending import Budget
from src.metrics.cost import inference_cost
from src.models import registry
from src.models.deploy.reparameterise import merge
from src.models.video import VideoSegmenter, as_video_segmenter
from src.video.reading.decode import Video

TRAINING = ("loss", "optimizer", "scheduler", "phases")
SIDE = (32, LONGEST_SIDE)  # pixels, from the deepest stride on
RANGES = {
    "input.height": SIDE,
    "input.width": SIDE,
    "video.gop": (2, None),
    "warmup": (1, None),
    "rounds": (1, None),
    "num_classes": (1, None),
}


def benchmark(config: DictConfig) -> dict[str, Any]:
    """Write `metrics/benchmark.json` into the run directory and print its result as one line of JSON.

    Raises:
        UserError: values out of range.
    """
    budget = _check_values(config)
    candidates(config.backend, config.precision, choose_device(config.device).type)  # before anything is written
    net = build(config, torch.device("meta"))
    _check_pair(net.cycle(2).is_constant)
    if budget is not None:
        check_can_warp(net, f"policy={config.policy}")
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    write_provenance(run_dir, plain(_without_training(config)))
    size = _size(config)
    result = {"model": _name(config.policy, budget), **count(net, size, config.video.gop, config.merge)}
    if config.latency:
        result["latency"] = time_it(build(config, torch.device("cpu")), _options(config, budget), size)
        if budget is not None:
            result["gmacs_amortised"] = result["latency"]["spending"]["gmacs"]
    write_json(run_dir / "metrics" / "benchmark.json", {"result": result, "provenance": provenance()})
    print(as_json(result))
    return result


def _check_pair(single_frame: bool) -> None:
    """Reject a network that the chosen model= does not run, as training does.

    Raises:
        UserError: such a pair.
    """
    chosen = HydraConfig.get().runtime.choices
    if single_frame != {"image": True, "tdnet": False}.get(chosen["model"], single_frame):
        raise UserError(
            f"model={chosen['model']} does not take network={chosen['network']}, which is "
            f"{'a single-frame network' if single_frame else 'a video method'}; give model=image or model=arseg for "
            "single-frame networks, model=tdnet for those of TDNet"
        )


def _name(policy: str, budget: Budget | None) -> str:
    """Name the network, the method unless that is the network by itself, and the policy where there is a budget."""
    choices = HydraConfig.get().runtime.choices
    name = str(choices["network"] if choices["model"] == "image" else f"{choices['model']}_{choices['network']}")
    return name if budget is None else f"{name} {policy} {budget.given}"


def count(net: VideoSegmenter, size: tuple[int, int], gop: int, merged: bool = True) -> dict[str, Any]:
    """Count parameters in training form, and the cost of the form that is run, without computing anything.

    Args:
        net: on the meta device, in training form; its blocks are merged in place.
        size: (H, W) of the images.
        gop: frames from keyframe to keyframe.
        merged: false counts the training form.
    """
    trained = sum(p.numel() for p in net.parameters())
    if merged:
        merge(net)
    cost = inference_cost(net, size, gop).as_dict()
    return {"params_train": trained, **cost, "height": size[0], "width": size[1]}


def build(config: DictConfig, device: torch.device) -> VideoSegmenter:
    """Build the method of a model configuration in eval mode, with random weights."""
    node: dict[str, Any] = OmegaConf.to_container(config.model.net, resolve=True)  # type: ignore[assignment]
    network = registry.network_of_node(node)
    with device:
        net = registry.build(network["name"], registry.without_initial_weights(network["arguments"]))
    return as_video_segmenter(net, config.model.get("lr_scale", 1.0)).eval()


def _without_training(config: DictConfig) -> DictConfig:
    """Return the configuration without the keys about training, which refer to a data set that is not configured."""
    kept = [key for key in config.model if key not in TRAINING]
    used = config.copy()
    used.model = OmegaConf.masked_copy(config.model, kept)
    return used


def _options(config: DictConfig, budget: Budget | None) -> TimingOptions:
    return TimingOptions(
        gop=config.video.gop,
        device=choose_device(config.device),
        threads=choose_threads(config.threads),
        backend=config.backend,
        precision=config.precision,
        channels_last=config.channels_last,
        fold=config.fold,
        merge=config.merge,
        warmup=config.warmup,
        rounds=config.rounds,
        video=TimedVideo(Path(config.film), config.video.gop, config.policy, budget) if config.film else None,
    )


def _size(config: DictConfig) -> tuple[int, int]:
    if not config.film:
        return int(config.input.height), int(config.input.width)
    info = Video(config.film, motion="none").info
    return info.height, info.width


def _check_values(config: DictConfig) -> Budget | None:
    """Reject values out of range, and return the budget."""
    choose_threads(config.threads)
    for key, (least, most) in RANGES.items():
        check_whole(key, OmegaConf.select(config, key), least, most)
    check_choice("policy", config.policy, ("fixed", *BUDGETED))
    budget = budget_of(config.policy, config.budget)
    if budget is not None and not config.film:
        raise UserError(f"policy={config.policy} is for videos; give film=VIDEO, or leave policy and budget out")
    if config.film and not config.latency:
        raise UserError(f"film={config.film} is given, but latency=false times nothing; leave one of them out")
    return budget
