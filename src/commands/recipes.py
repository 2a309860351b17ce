"""Compose the experiments that stand beside published recipes, for `src.report table=recipes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import hydra
from omegaconf import OmegaConf

from src.reports.recipes import Recipe


def compose_recipes(recipes: Sequence[Recipe]) -> Iterator[tuple[Recipe, dict[str, Any]]]:
    """Yield each recipe with the configuration of its experiment; needs an initialised Hydra."""
    for recipe in recipes:
        overrides = [f"experiment={recipe.experiment}", "num_classes=19", "data.root=PATH", *recipe.given]
        config = hydra.compose("train", overrides=overrides)
        model = config.model.phases[recipe.phase]
        parts: dict[str, Any] = {
            "model": {
                **{key: _plain(config.model[key]) for key in ("optimizer", "scheduler")},
                "pretrained": config.model.get("pretrained"),
                "phases": {recipe.phase: _plain(model)},
            },
            "network": _plain(config.network),
            "data": {
                "batch_size": config.data.batch_size,
                "module": {"transform": _plain(config.data.module.transform)},
            },
        }
        yield recipe, parts


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True)
