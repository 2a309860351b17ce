"""Counts of the networks that `reference_cost.csv` has official figures of, for `src.report table=cost`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra

from src.commands.benchmark import build, count
from src.metrics.cost import inference_cost
from src.reports.cost import TRAIN_FORM, Reference

SMALL = (64, 64)  # size of the image for quantities that do not depend on it


def compare(references: list[Reference]) -> Iterator[tuple[Reference, float]]:
    """Yield each reference with the counted value; needs an initialised Hydra.

    Networks are built and counted without memory. Lines that follow each other share the network, and the count
    where images have the same size.
    """
    for (model, options), lines in groupby(references, key=lambda r: (r.model, r.options)):
        wanted = list(lines)
        config = hydra.compose("benchmark", overrides=[*_choices(model), *options])
        first = next((r.size for r in wanted if r.size), SMALL)
        for size, same_size in groupby(wanted, key=lambda r: r.size or first):
            counted = count(build(config, torch.device("meta")), size, config.video.gop)
            for reference in same_size:
                if reference.quantity == TRAIN_FORM:
                    yield reference, inference_cost(build(config, torch.device("meta")), size, 2).gmacs_key
                else:
                    yield reference, counted[reference.quantity]


def _choices(model: str) -> list[str]:
    """Overrides for a name as `src.benchmark` reports it: METHOD_NETWORK, or NETWORK by itself."""
    method, _, network = model.partition("_")
    methods = GlobalHydra.instance().config_loader().get_group_options("model")
    return [f"model={method}", f"network={network}"] if method in methods else [f"network={model}"]
