"""The network of a training phase, and what its checkpoints record about it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from src.checkpoints.metadata import FORMAT, data_options, without_paths
from src.data.datasets.base import LabelledDataset
from src.models.registry import network_of_node, without_initial_weights
from src.training.modules.segmentation import SegmentationModule


def network_of(module: Mapping[str, Any], resolved: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name and arguments of a phase's network, and the rest of what its module is built from.

    Optimiser, schedule and decay are those of the model where the phase has none of its own; modules that segment also
    get the metrics.

    Args:
        module: of the phase, resolved.
        resolved: the whole configuration.

    Raises:
        UserError: the network is not described by name and arguments.
    """
    model = resolved["model"]
    shared = {key: model[key] for key in ("optimizer", "scheduler", "decay")}
    if issubclass(_class_of(module["_target_"]), SegmentationModule):
        shared |= {"distances": resolved["video"]["gop"], "metrics": resolved["metric"]}
    rest = {key: value for key, value in module.items() if key != "net"}
    return network_of_node(module["net"]), {**shared, **rest}


def _class_of(target: str) -> type:
    module, _, name = target.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def metadata_of(
    resolved: Mapping[str, Any],
    phase: str,
    network: Mapping[str, Any],
    source: LabelledDataset,
    groups: Mapping[str, str],
) -> dict[str, Any]:
    """Describe a phase's network for its checkpoints, in the form of `src.checkpoints.metadata`.

    Args:
        resolved: the whole configuration.
        phase: its name.
        network: its name and arguments.
        source: the data set.
        groups: configuration groups of the data set and what was chosen in each.
    """
    module, model, data = resolved["model"]["phases"][phase]["module"], resolved["model"], resolved["data"]
    fit, normalisation = data.get("fit"), source.normalisation
    name = groups.get("data")
    return {
        "format": FORMAT,
        "network": without_initial_weights(dict(network)),
        "phase": phase,
        "lr_scale": module.get("lr_scale", model.get("lr_scale", 1.0)),
        "classes": source.classes.as_dict(),
        "normalisation": {"mean": list(normalisation.mean), "std": list(normalisation.std)},
        "fit": None if fit is None else {key: fit[key] for key in ("short", "long")},
        "video": dict(resolved["video"]),
        "seed": resolved["seed"],
        "data": None
        if name is None
        else {
            "name": name,
            "groups": {k: v for k, v in groups.items() if k != "data"},
            "options": data_options(data),
        },
        "config": without_paths(resolved),
    }
