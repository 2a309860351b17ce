"""Official checkpoints, loaded into our networks with every key accounted for."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.checkpoints.official.names import KeyMap
from src.checkpoints.official.releases import RELEASES, Release
from src.errors import UserError
from src.models.arseg.net import ARSeg
from src.models.registry import build
from src.tensor_files.read import read_state_dict, unwrap

LONGEST_NAME = 100  # characters of a tensor's name in messages
REMEDY = "give the file of the official release, downloaded again"


def load_official(
    name: str, state_dict: Mapping[str, Any], key_state_dict: Mapping[str, Any] | None = None
) -> nn.Module:
    """The network of an official release with its weights, in eval mode.

    Single-frame networks are `Segmenter`s; AR-Seg comes as `ARSeg` in its legacy conventions, TDNet as its
    streaming network. They are the classes that `model=` configs train. RDRNet and GCNet come in the form,
    training or deployed, that `state_dict` is of.

    Args:
        name: a key of `RELEASES`.
        state_dict: official names to tensors, bare or in the container of the release.
        key_state_dict: the high-resolution branch of AR-Seg, which its releases keep in a file of its own.
            Without it both branches take `state_dict`, and a warning says so.

    Raises:
        UserError: an unknown name; tensors missing, left over, contradictory or of another shape; a second
            state dict for a network of one branch.
    """
    release = find_release(name)
    if key_state_dict is not None and release.key_branch is None:
        raise UserError(f"'{name}' has one branch and takes no second state dict; leave it out")
    own = unwrap(state_dict, f"the state dict of '{name}'")
    state = _translate(name, release, own, key_state_dict)
    net = build(**release.form(own))
    _check(name, net, state)
    tensors = {local: value for local, (_, value) in state.items()}
    if isinstance(net, ARSeg) and _separate_classifiers(net, tensors):
        warnings.warn(f"{name}: the two branches differ in their classifier; each keeps its own", stacklevel=2)
    counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
    net.load_state_dict({**counters, **tensors})
    return net.eval()


def convert(name: str, source: Path, key_source: Path | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Load a release's file as a network of this project, with the metadata of its checkpoint.

    Returns:
        The network in eval mode, and `name`, `network` (its name and arguments), `dataset`,
        `num_classes`, `mean` and `std` (of RGB in 0..1), `sources` (file names).

    Raises:
        UserError: see `load_official` and `src.tensor_files.read.read_state_dict`.
    """
    release = find_release(name)
    state = read_state_dict(source, REMEDY, foreign=True)
    key_state = None if key_source is None else read_state_dict(key_source, REMEDY, foreign=True)
    try:
        module = load_official(name, state, key_state)
    except UserError as error:
        raise UserError(f"'{source}': {error}") from error
    if isinstance(module, ARSeg) and module.high.classifier is not module.low.classifier:
        raise UserError(
            f"'{source}' and '{key_source}' differ in the classifier that the branches share; "
            "give two files of one training"
        )
    info = {
        "name": name,
        "network": release.form(state),
        "dataset": release.dataset,
        "num_classes": release.num_classes,
        "mean": list(release.mean),
        "std": list(release.std),
        "sources": [path.name for path in (source, key_source) if path is not None],
    }
    return module, info


def _separate_classifiers(net: ARSeg, tensors: Mapping[str, Tensor]) -> bool:
    """Undo the sharing of the classifier where the branches' files disagree on it, and whether they do."""
    shared = net.low.classifier
    (name,) = [name for name, module in net.low.named_modules() if module is shared]
    keys = [f"{name}.{key}" for key in shared.state_dict()]
    if all(torch.equal(tensors[f"high.{key}"], tensors[f"low.{key}"]) for key in keys):
        return False
    net.low.set_submodule(name, copy.deepcopy(shared))
    return True


def find_release(name: str) -> Release:
    """The entry of `RELEASES`.

    Raises:
        UserError: no such entry.
    """
    if name not in RELEASES:
        raise UserError(f"'{name}' is not an official network; choose one of {', '.join(RELEASES)}")
    return RELEASES[name]


Translated = dict[str, tuple[str, Tensor]]  # our name -> official name and tensor


def _translate(
    name: str, release: Release, state: Mapping[str, Tensor], key_state_dict: Mapping[str, Any] | None
) -> Translated:
    translated = {
        local: (official, _adapted(name, release, local, value))
        for local, (official, value) in _rename(name, state, release.keys).items()
    }
    if release.key_branch is None:
        return translated
    if key_state_dict is None:
        warnings.warn(
            f"{name}: no state dict for the high-resolution branch was given; both take the same one",
            stacklevel=3,
        )
        key_state = state
    else:
        key_state = unwrap(key_state_dict, f"the high-resolution state dict of '{name}'")
    return {**translated, **_rename(name, key_state, release.key_branch)}


def _adapted(name: str, release: Release, local: str, value: Tensor) -> Tensor:
    try:
        return release.adapt(local, value)
    except IndexError as error:
        shape = tuple(value.shape)
        raise UserError(
            f"'{name}': the tensor of {ascii(local)[:LONGEST_NAME]} has the shape {shape}; give the file as released"
        ) from error


def _rename(name: str, state: Mapping[str, Tensor], keys: KeyMap) -> Translated:
    """Apply the longest prefix that matches; a prefix mapped to None drops the key."""
    renamed: Translated = {}
    for key, value in state.items():
        prefix = max((p for p in keys if key.startswith(p)), key=len, default=None)
        replacement = None if prefix is None else keys[prefix]
        if prefix is not None and replacement is None:
            continue
        local = key if prefix is None else f"{replacement}{key[len(prefix) :]}"
        if local in renamed and not (renamed[local][1].dtype == value.dtype and torch.equal(renamed[local][1], value)):
            raise UserError(
                f"'{name}': '{renamed[local][0]}' and '{key}' are one tensor under two names but differ; "
                "give the checkpoint as released"
            )
        renamed[local] = (key, value)
    return renamed


def _check(name: str, net: nn.Module, state: Translated) -> None:
    own = net.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [official for local, (official, _) in state.items() if local not in own]
    shapes = [
        f"{official} {tuple(value.shape)} for {tuple(own[local].shape)}"
        for local, (official, value) in state.items()
        if local in own and value.shape != own[local].shape
    ]
    types = [
        f"{official} {value.dtype}"
        for local, (official, value) in state.items()
        if local in own and value.is_floating_point() != own[local].is_floating_point()
    ]
    found = {"missing": missing, "left over": unknown, "of another shape": shapes, "of another type": types}
    problems = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in found.items() if keys]
    if problems:
        raise UserError(
            f"the state dict is not that of '{name}' ({'; '.join(problems)}); give the file released for this network"
        )


def _some(keys: list[str], limit: int = 4) -> str:
    rest = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(ascii(key)[1 : LONGEST_NAME + 1].removesuffix("'") for key in keys[:limit]) + rest
