"""Multiply-adds of a study's trials, for `src.report study=NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from src.commands.benchmark import count
from src.files import read_yaml
from src.models import registry
from src.models.video import as_video_segmenter
from src.reports.study import Study
from src.reports.sweep import Trial

CLASSES = 19  # where no run says how many; only the classifier depends on it


def count_trials(study: Study, runs: Sequence[Trial]) -> dict[tuple[str, str], float]:
    """Count the networks of trainings without memory; needs an initialised Hydra.

    A trial is counted as its first run was configured, or as the study composes it if it has no run.

    Returns:
        10^9 multiply-adds per frame at the study's size, by names of trial and phase.
    """
    counted: dict[tuple[str, str], float] = {}
    for trial in study.trials:
        if trial.size is None:
            continue
        config = _config(study, trial.name, runs)
        for result in trial.published:
            spec = OmegaConf.select(config, f"model.phases.{result}.module")
            if spec is not None:
                counted[trial.name, result] = _gmacs(_plain(spec), trial.size, int(config.video.gop))
    return counted


def _config(study: Study, trial: str, runs: Sequence[Trial]) -> DictConfig:
    paths = [r.folder / "config_resolved.yaml" for r in runs if r.setting.get("trial") == trial]
    path = next((path for path in paths if path.exists()), None)
    if path is not None:
        stored: DictConfig = OmegaConf.create(read_yaml(path))
        return stored
    composed = hydra.compose("train", [f"study={study.name}", f"trial={trial}", "num_classes=null"])
    composed.num_classes = OmegaConf.select(composed, "network.published_classes") or CLASSES
    return composed


def _plain(module: DictConfig) -> dict[str, Any]:
    wanted = OmegaConf.masked_copy(module, ["net", "lr_scale"])
    wanted._set_parent(module._get_parent())  # of its interpolations
    found: dict[str, Any] = OmegaConf.to_container(wanted, resolve=True)  # type: ignore[assignment]
    return found


def _gmacs(module: Mapping[str, Any], size: tuple[int, int], gop: int) -> float:
    network = registry.network_of_node(module["net"])
    with torch.device("meta"):
        net = registry.build(network["name"], registry.without_initial_weights(network["arguments"]))
    return float(count(as_video_segmenter(net, module.get("lr_scale", 1.0)).eval(), size, gop)["gmacs_amortised"])
