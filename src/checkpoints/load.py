"""From a checkpoint to the network it holds; needs nothing but the file, and executes nothing in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.checkpoints import cards, metadata
from src.data.images import Normalisation
from src.data.labels import ClassSet
from src.data.transforms import FitSize
from src.errors import MissingCheckpoint, UserError
from src.models.registry import build, without_initial_weights
from src.models.video import VideoSegmenter, as_video_segmenter

PREFIX = "net."  # of the network's tensors in a checkpoint


@dataclass(frozen=True)
class LoadedModel:
    """A network in eval mode and what its checkpoint says about it.

    Attributes:
        network: the method; a Segmenter runs on each frame at the scale that it was trained at.
        classes: names and palette.
        normalisation: of its input.
        fit: the size that images had in training before augmentation; None for their own.
        gop: frames from keyframe to keyframe in training.
        metadata: of `src.checkpoints.metadata.check_metadata`, plain Python.
    """

    network: VideoSegmenter
    classes: ClassSet
    normalisation: Normalisation
    fit: FitSize | None
    gop: int
    metadata: dict[str, Any]


def load_checkpoint(path: str | Path) -> LoadedModel:
    """Build the network of a checkpoint written by `src.train` or `src.convert`, on the CPU.

    Raises:
        UserError: no such file, damaged, not written by this project, or a network that labels no pixels.
    """
    content = read_checkpoint(path)
    found = content[metadata.KEY]
    network = as_video_segmenter(_filled(found["network"], content, str(path)), float(found["lr_scale"]))
    fit, normalisation = found["fit"], found["normalisation"]
    return LoadedModel(
        network.eval(),
        ClassSet.from_dict(found["classes"]),
        Normalisation(tuple(normalisation["mean"]), tuple(normalisation["std"])),
        None if fit is None else FitSize(fit["short"], fit["long"]),
        found["video"]["gop"],
        found,
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read the content of a checkpoint, its metadata checked; those of earlier versions are translated.

    Raises:
        UserError: no such file, damaged, or not written by this project.
    """
    content = read_content(path)
    if metadata.KEY not in content:
        try:
            content[metadata.KEY] = cards.metadata_of_card(content[cards.KEY])
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # nothing in it can be relied on
            reason = str(error).partition("\n")[0][:200]
            raise UserError(
                f"checkpoint '{path}' is refused: {reason}; give a .ckpt file written by src.train or src.convert"
            ) from error
    content[metadata.KEY] = metadata.check_metadata(content[metadata.KEY], str(path))
    return content


def read_content(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's plain Python and tensors, nothing of which is checked.

    Raises:
        UserError: no such file, damaged, or without metadata.
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
    if not isinstance(content, dict) or not {metadata.KEY, cards.KEY} & content.keys():
        raise UserError(
            f"checkpoint '{path}' was not written by this project (it carries no metadata); "
            "convert official weights with python -m src.convert"
        )
    return content


def network_state(content: dict[str, Any], path: str | Path) -> dict[str, Tensor]:
    """Tensors of the network in a checkpoint, by their names in it.

    Raises:
        UserError: the checkpoint holds something else in their place.
    """
    state = content.get("state_dict")
    tensors = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    if not isinstance(state, dict) or not tensors:
        raise UserError(f"checkpoint '{path}' holds no state dict; give a .ckpt file written by src.train")
    return {str(k).removeprefix(PREFIX): v for k, v in state.items() if str(k).startswith(PREFIX)}


def _filled(network: dict[str, Any], content: dict[str, Any], path: str) -> nn.Module:
    """The network with the checkpoint's tensors; built without memory first, so that sizes are known to fit."""
    name, arguments = network["name"], without_initial_weights(network["arguments"])
    state = network_state(content, path)
    try:
        with torch.device("meta"):
            shapes = {key: value.shape for key, value in build(name, arguments).state_dict().items()}
    except UserError as error:
        raise UserError(f"checkpoint '{path}': {error}") from error
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise UserError(
            f"checkpoint '{path}' is refused: network '{name}' cannot be built with its arguments ({reason}); "
            "give a .ckpt file written by src.train or src.convert"
        ) from error
    if shapes != {key: value.shape for key, value in state.items()}:
        raise UserError(
            f"checkpoint '{path}' is refused: its tensors are not those of its network '{name}'; "
            "give a .ckpt file written by src.train or src.convert"
        )
    net = build(name, arguments)
    try:
        net.load_state_dict(state)
    except (RuntimeError, NotImplementedError) as error:  # tensors of a layout that cannot be copied
        raise UserError(
            f"checkpoint '{path}' is refused: its tensors cannot be copied into network '{name}'; "
            "give a .ckpt file written by src.train or src.convert"
        ) from error
    return net.eval()
