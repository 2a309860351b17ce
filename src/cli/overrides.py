"""Checks of command-line values that other values would make void."""

from __future__ import annotations

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.errors import UserError


def check_data_set(config: DictConfig) -> None:
    """Reject a `data` group that is not a data set, but settings of others.

    Raises:
        UserError: such a group.
    """
    if not {"source", "module"} <= config.data.keys():
        name = HydraConfig.get().runtime.choices["data"]
        raise UserError(f"data={name} is no data set, but settings of others; give one, such as data=street")


def check_rate(config: DictConfig) -> None:
    """Reject a `video.crf` on the command line that a `video.bitrate` would override.

    Raises:
        UserError: both are set.
    """
    given = {override.split("=")[0] for override in HydraConfig.get().overrides.task}
    crf, bitrate = config.video.crf, config.video.bitrate
    if "video.crf" in given and crf is not None and bitrate is not None:
        raise UserError(
            f"video.crf={crf} and video.bitrate={bitrate} are both set, and the bitrate would take the place of the "
            "quality; leave out one of them, or give video.bitrate=null against that of an experiment"
        )


def check_effect(config: DictConfig) -> None:
    """Reject keys of `trainer` for which each training phase has a value of its own, and videos that none learns from.

    Raises:
        UserError: such a key, with those to give instead.
    """
    phases: dict[str, Any] = OmegaConf.to_container(config.model.phases)  # type: ignore[assignment]
    videos = config.data.get("unlabelled")
    if videos and not any("unlabelled" in spec["data"] for spec in phases.values() if spec is not None):
        raise UserError(
            f"data.unlabelled={videos}: no phase of model={HydraConfig.get().runtime.choices['model']} learns from "
            "videos without labels; give model=arseg, or leave it out"
        )
    own = {name: spec["trainer"] for name, spec in phases.items() if spec is not None}
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+").partition("=")[0]
        name = key.removeprefix("trainer.")
        if own and name != key and all(name in settings for settings in own.values()):
            places = [f"model.phases.{phase}.{key}" for phase in own]
            texts = [str(settings[name]) for settings in own.values()]
            keys = [text[2:-1] if text.startswith("${") else place for text, place in zip(texts, places, strict=True)]
            raise UserError(f"{key} has no effect, as each phase has its own; give {', '.join(dict.fromkeys(keys))}")
