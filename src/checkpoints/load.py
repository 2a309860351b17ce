"""From a checkpoint of ours to the network it holds; needs nothing but the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

from src.data.images import Normalisation
from src.data.labels import ClassSet
from src.data.transforms import FitSize
from src.errors import MissingCheckpoint, UserError
from src.instantiate import instantiate
from src.models.video import VideoSegmenter, as_video_segmenter


@dataclass(frozen=True)
class LoadedModel:
    """A network in eval mode and what its checkpoint says about it.

    Attributes:
        network: the method; a Segmenter runs on each frame at the scale that it was trained at.
        config: the configuration of the run that trained it, its interpolations kept.
        classes: names and palette.
        normalisation: of its input.
        fit: the size that pictures had in training before they were augmented; None: their own.
    """

    network: VideoSegmenter
    config: DictConfig
    classes: ClassSet
    normalisation: Normalisation
    fit: FitSize | None = None


def load_checkpoint(path: str | Path) -> LoadedModel:
    """The network of a checkpoint written by `src.train` or `src.convert`, on the CPU.

    Raises:
        UserError: no such file, damaged, or not one of ours.
    """
    content = read_checkpoint(path)
    card = content["card"]
    config = OmegaConf.create(card["config"])
    normalisation = card["normalisation"]
    module = config.model.phases[card["phase"]].module
    node = without_initial_weights(module.net)
    _refuse_foreign_code(node, str(path))
    net: nn.Module = instantiate(OmegaConf.create(node))
    prefix = "net."
    fit = OmegaConf.select(config, "data.fit")
    state = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    net.load_state_dict(state)
    lr_scale = float(module.get("lr_scale", config.model.get("lr_scale", 1.0)))
    return LoadedModel(
        as_video_segmenter(net.eval(), lr_scale),
        config,
        ClassSet.from_dict(card["classes"]),
        Normalisation(tuple(normalisation["mean"]), tuple(normalisation["std"])),
        None if fit is None else FitSize(int(fit.short), int(fit.long)),
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint of ours, checked to have a card.

    Raises:
        UserError: no such file, damaged, or not one of ours.
    """
    if not Path(path).is_file():
        raise MissingCheckpoint(
            f"checkpoint '{path}' does not exist; give the path of a .ckpt file written by src.train"
        )
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the reader raise anything: KeyError, UnicodeDecodeError, ..
        raise UserError(
            f"checkpoint '{path}' cannot be read ({type(error).__name__}); it is damaged or not a checkpoint, "
            "give a .ckpt file written by src.train"
        ) from error
    if not isinstance(content, dict) or "card" not in content:
        raise UserError(
            f"checkpoint '{path}' was not written by this project (it carries no card); "
            "convert official weights with python -m src.convert"
        )
    return content


def _refuse_foreign_code(node: Any, path: str) -> None:
    """A network is rebuilt by calling what its card names: only our own classes may be named there."""
    if isinstance(node, dict):
        target = str(node.get("_target_", "src."))
        ours = ("src.", "tests.")  # the module too: src.MODULE.subprocess.run starts with src. as well
        if not target.startswith(ours) or ("_target_" in node and not _home(target).startswith(ours)):
            raise UserError(f"checkpoint '{path}' wants to call '{target}'; only networks of this project are loaded")
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _refuse_foreign_code(value, path)


def _home(target: str) -> str:
    """The module that a target is defined in; empty where there is no such target."""
    try:
        return str(getattr(get_object(target), "__module__", ""))
    except (ImportError, AttributeError, ValueError):
        return ""


def without_initial_weights(node: Any) -> Any:
    """The node with every name in `weights: ...` set to none: the checkpoint replaces initial weights anyway."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, dict):
        named = {k for k, v in node.items() if k == "weights" and isinstance(v, str)}  # those of losses are numbers
        return {k: "none" if k in named else without_initial_weights(v) for k, v in node.items()}
    if isinstance(node, list):
        return [without_initial_weights(v) for v in node]
    return node
