"""The data that a checkpoint is evaluated on: a configuration of this project, never one from the file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from src.cli.config import check_kind
from src.cli.overrides import check_rate
from src.errors import UserError
from src.training.resume import stored_config

# Of this machine or of the data's origin, not of the data that a network was trained on.
NEVER_TAKEN = ("root", "cache", "archive", "download", "workers")
AS_TRAINED = "as_trained"
FIT = "src.data.transforms.FitSize"


def data_config(metadata: dict[str, Any], given: DictConfig, path: str) -> DictConfig:
    """Compose `data`, `video`, `paths` and `seed` for an evaluation.

    With data=as_trained the data set is composed from `conf/data` by the name that the checkpoint records; of its
    options the numbers that have the same place in that configuration are taken, then what the evaluation's command
    line gives. With data=NAME the command line decides alone. Clips are coded as in training unless it says otherwise.

    Args:
        metadata: of the checkpoint, checked.
        given: of conf/eval.yaml; values other than None in its `data`, `video` and `paths` win.
        path: of the checkpoint, for messages.

    Raises:
        UserError: a data set that has no configuration here, an option of another kind, or both a quality and a
            bitrate on the command line.
    """
    check_rate(given)
    if HydraConfig.get().runtime.choices["data"] != AS_TRAINED:
        return _given(metadata, given, path)
    data = metadata["data"]
    if data is None:
        raise UserError(f"checkpoint '{path}' does not name the data set that it was trained on; train it again")
    config = _composed(data, path)
    with open_dict(config):
        _take(config.data, data["options"], "data")
        if metadata["fit"] is not None:
            config.data.fit = {"_target_": FIT, **metadata["fit"]}
        config.seed = metadata["seed"] if given.seed is None else given.seed
        if "seed" in config.data and "seed" not in data["options"]:  # of an earlier version, whose data followed `seed`
            config.data.seed = metadata["seed"]
        config.video = {**config.video, **_video(metadata, given)}
        config.paths.cache = _trained_cache(path) or config.paths.cache
        for group in ("data", "paths"):
            for key, value in given[group].items():
                if value is not None:
                    OmegaConf.update(config, f"{group}.{key}", value)
    kept: DictConfig = OmegaConf.masked_copy(config, ["data", "video", "paths", "seed"])
    return kept


def _given(metadata: dict[str, Any], given: DictConfig, path: str) -> DictConfig:
    """The data set of the command line, coded as in training where the command line says nothing else."""
    kept: DictConfig = OmegaConf.masked_copy(given, ["data", "video", "paths", "seed"])
    with open_dict(kept):
        kept.video = _video(metadata, given)
        kept.seed = metadata["seed"] if given.seed is None else given.seed
        kept.paths.cache = given.paths.cache or _trained_cache(path) or "cache"
    return kept


def _trained_cache(checkpoint: str) -> str | None:
    """`paths.cache` of the run in whose directory a checkpoint lies, RUN/PHASE/checkpoints/NAME, if it is there."""
    with suppress(UserError, OSError, LookupError, TypeError, RecursionError):
        cache = (stored_config(Path(checkpoint).resolve().parents[2]) or {})["paths"]["cache"]
        if isinstance(cache, str) and Path(cache).is_dir():
            return cache
    return None


def _video(metadata: dict[str, Any], given: DictConfig) -> dict[str, Any]:
    own = {key: value for key, value in given.video.items() if value is not None}
    replaced = {"bitrate": None} if "crf" in own else {}
    return {**metadata["video"], **replaced, **own}


def _composed(data: dict[str, Any], path: str) -> DictConfig:
    overrides = [f"data={data['name']}", *(f"{group}={choice}" for group, choice in data["groups"].items())]
    try:
        return hydra.compose("train", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(
            f"checkpoint '{path}' was trained on data={data['name']}, which is no configuration here "
            f"({str(error).partition(chr(10))[0][:100]}); give --config-dir=FOLDER of your own configuration"
        ) from error


def _take(config: DictConfig, options: dict[str, Any], place: str) -> None:
    """Set numbers, and lists and groups of numbers, where the configuration has a value of its own that is no text."""
    known: Any = OmegaConf.to_container(config, resolve=False)  # interpolations and missing values are text there
    for key, value in options.items():
        if key not in known or key in NEVER_TAKEN:
            continue
        usual = None if known[key] == MISSING else known[key]
        if isinstance(usual, dict):
            if isinstance(value, dict):
                _take(config[key], value, f"{place}.{key}")
        elif _is_numeric(value) and not isinstance(usual, str):
            check_kind(value, usual, f"{place}.{key}")
            config[key] = value


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_numeric(item) for item in value)
    return value is None or isinstance(value, (bool, int, float))
