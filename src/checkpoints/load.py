"""From a checkpoint to the network it holds; needs nothing but the file, and executes nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from src.checkpoints import cards, metadata
from src.checkpoints.digest import check_bytes, check_content
from src.checkpoints.weights_file import SUFFIX, place_of, read_weights, shipped_names
from src.data.images import Normalisation
from src.data.labels import ClassSet
from src.data.transforms import FitSize
from src.errors import MissingCheckpoint, UserError, absence
from src.models.registry import build, build_shapes, without_initial_weights
from src.models.video import VideoSegmenter, as_video_segmenter
from src.tensor_files.read import check_finite, read_tensor_file

WRITTEN_HERE = "give a .ckpt file written by src.train or src.convert"
STATISTICS = ("running_mean", "running_var")  # of batch norms
DIVERGED = "its training diverged, train again with a lower model.optimizer.lr"
MOST_PARAMETERS, MOST_NUMBERS = 20_000, 2**27  # beside those that the file holds: encoders are made whole, then cut
MOST_CLASSES = 255  # of label maps with 8 bits, in which 255 is no class


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


def load_checkpoint(path: str | Path, lr_scale: float | None = None) -> LoadedModel:
    """Build the network of a checkpoint written by `src.train` or `src.convert`, or of shipped weights, on the CPU.

    Args:
        path: of the file.
        lr_scale: of `VideoSegmenter.rescaled`; None: that of the checkpoint.

    Raises:
        UserError: no such file, damaged, not written by this project, a network that labels no pixels, or one that
            has no such scale.
    """
    content = read_checkpoint(path)
    found = content[metadata.KEY]
    network = as_video_segmenter(_filled(found["network"], content, str(path)), float(found["lr_scale"]))
    count = len(found["classes"]["names"])
    if count != network.num_classes or count > MOST_CLASSES:
        raise UserError(
            f"checkpoint '{path}' is rejected: classes.names has {count} names for the {network.num_classes} classes "
            f"of its network, at most {MOST_CLASSES}; {WRITTEN_HERE}"
        )
    fit, normalisation = found["fit"], found["normalisation"]
    return LoadedModel(
        network.eval() if lr_scale is None else network.eval().rescaled(lr_scale),
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
    content = _read(path)
    translated: Any = content.get(metadata.KEY)
    if metadata.KEY not in content:
        try:
            translated = cards.metadata_of_card(content[cards.KEY])
        except (ValueError, TypeError, AttributeError) as error:  # nothing in it can be relied on
            reason = str(error).partition("\n")[0][:200]
            raise UserError(f"checkpoint '{path}' is rejected: {reason}; {WRITTEN_HERE}") from error
    checked = metadata.check_metadata(translated, str(path))
    check_content(content, Path(path))  # after the metadata, which can say what is wrong
    return {**content, metadata.KEY: checked}


def read_content(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's plain Python and tensors, of which its digest alone is checked.

    Raises:
        UserError: no such file, damaged, or without metadata.
    """
    content = _read(path)
    check_content(content, Path(path))
    return content


def _read(given: str | Path) -> dict[str, Any]:
    path = place_of(given)
    if not path.is_file():
        known = ", ".join(shipped_names())
        remedy = f"give the path of a .ckpt file written by src.train, URL#sha256=DIGEST, or {known}"
        raise MissingCheckpoint(f"checkpoint '{path}' {absence(path)}; {remedy}")
    remedy = "it is damaged or not a checkpoint, give a .ckpt file written by src.train"
    if path.suffix == SUFFIX:
        return read_weights(path, remedy)
    content = read_tensor_file(path, remedy)
    check_bytes(path)
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
        raise UserError(f"checkpoint '{path}' holds no state dict; {WRITTEN_HERE}")
    found = {str(k).removeprefix(metadata.PREFIX): v for k, v in state.items() if str(k).startswith(metadata.PREFIX)}
    return found


def _filled(network: dict[str, Any], content: dict[str, Any], path: str) -> nn.Module:
    """The network with the checkpoint's tensors; built without memory first, so that sizes are known to fit."""
    name, arguments = network["name"], without_initial_weights(network["arguments"])
    state = network_state(content, path)
    try:
        with _limited(MOST_PARAMETERS + len(state), MOST_NUMBERS + sum(value.numel() for value in state.values())):
            own = build_shapes(name, arguments).state_dict()
    except UserError as error:
        raise UserError(f"checkpoint '{path}' is rejected: {error}") from error
    except Exception as error:  # constructors may raise anything at arguments that they do not expect
        reason = (str(error) or type(error).__name__).partition("\n")[0][:120]
        raise UserError(
            f"checkpoint '{path}' is rejected: network '{name}' cannot be built with its arguments ({reason}); "
            f"{WRITTEN_HERE}"
        ) from error
    if _kinds(own) != _kinds(state):
        raise UserError(
            f"checkpoint '{path}' is rejected: its tensors are not those of its network '{name}'; {WRITTEN_HERE}"
        )
    net = build(name, arguments)
    weights = {key for key, _ in net.named_parameters()} | {key for key in state if key.endswith(STATISTICS)}
    check_finite({key: state[key] for key in state if key in weights}, path, DIVERGED)  # other buffers may be masks
    net.load_state_dict(state)
    return net.eval()


def _kinds(state: dict[str, Tensor]) -> dict[str, tuple[torch.Size, bool]]:
    return {key: (value.shape, value.is_floating_point()) for key, value in state.items()}


@contextmanager
def _limited(most: int, most_numbers: int) -> Iterator[None]:
    """Stop a network that registers more parameters or numbers in them, before it takes minutes or all memory."""
    left, numbers_left = most, most_numbers

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left, numbers_left
        left -= 1
        numbers_left -= 0 if parameter is None else parameter.numel()
        if left < 0 or numbers_left < 0:
            raise ValueError(f"more than {most} parameters or {most_numbers} numbers in them")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
