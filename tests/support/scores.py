"""Metrics as they are configured, for tests that score."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from torchmetrics import MetricCollection

from src.instantiate import instantiate
from src.metrics.collection import ON_IMAGES, ON_VIDEOS, build_metrics
from src.metrics.confusion import DistanceConfusion
from tests.support.configs import CONF

IOU = {"confusion": DistanceConfusion}


def configured(name: str) -> dict[str, Any]:
    """Constructors of conf/metric/NAME.yaml and of the files that it builds on."""
    nodes: Any = OmegaConf.to_container(OmegaConf.load(CONF / "metric" / f"{name}.yaml"))
    bases = [configured(base) for base in nodes.pop("defaults", []) if base != "_self_"]
    return {name: maker for base in bases for name, maker in base.items()} | instantiate(nodes)


def default_metrics(num_classes: int, gop: int, videos: bool = True) -> MetricCollection:
    """Metrics of `src.eval` by default, of the frames of videos or of still images."""
    given = ON_VIDEOS if videos else ON_IMAGES
    return build_metrics(configured("video"), given, num_classes=num_classes, distances=gop)
