"""Weights without a training's state: safetensors files, among them those that come with the project.

The header of a file holds the checkpoint's metadata as JSON and the digest of its content. Parameters are stored in
float16, what a batch norm has counted in float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from src.checkpoints import metadata
from src.checkpoints.digest import KEY as DIGEST
from src.checkpoints.digest import content_digest
from src.checkpoints.remote import is_address, local_copy
from src.errors import UserError
from src.files import atomic_write

SUFFIX = ".safetensors"
SHIPPED = Path(__file__).with_name("weights")
LOCAL = (".running_mean", ".running_var")  # beyond float16's range or precision in some networks


def shipped_names() -> list[str]:
    """Names that may stand in the place of a checkpoint's path."""
    return sorted(path.stem for path in SHIPPED.glob(f"*{SUFFIX}"))


def place_of(checkpoint: str | Path) -> Path:
    """Path of a checkpoint: that of an address's copy, or the shipped file of that name without a file of the user's.

    Raises:
        UserError: as `local_copy`.
    """
    if is_address(checkpoint):
        return local_copy(checkpoint)
    path = Path(checkpoint)
    return SHIPPED / f"{path}{SUFFIX}" if str(path) in shipped_names() and not path.exists() else path


def write_weights(path: Path, content: dict[str, Any]) -> None:
    """Write the weights and the metadata of a checkpoint's content.

    Args:
        path: of the new file.
        content: of `src.checkpoints.load.read_checkpoint`.
    """
    state = {
        name: _stored(value, value.is_floating_point() and not name.endswith(LOCAL))
        for name, value in sorted(content["state_dict"].items())
        if name.startswith(metadata.PREFIX)
    }
    kept = {key: value for key, value in content[metadata.KEY].items() if key != "config"}
    stored = {metadata.KEY: json.loads(json.dumps(kept)), "state_dict": state}
    header = {metadata.KEY: json.dumps(stored[metadata.KEY]), DIGEST: content_digest(stored)}
    with atomic_write(path) as partial:
        partial.write_bytes(save(state, header))


def read_weights(path: Path, remedy: str) -> dict[str, Any]:
    """Read the content of such a file, as `src.checkpoints.load` needs it; tensors in float32.

    Args:
        path: of an existing file.
        remedy: end of the error message.

    Raises:
        UserError: another file, or a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header, names = file.metadata() or {}, sorted(file.keys())
            state = {name: file.get_tensor(name) for name in names}
        content = {metadata.KEY: json.loads(header[metadata.KEY]), "state_dict": state}
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise UserError(f"checkpoint '{path}' cannot be read ({str(error)[:200]}); {remedy}") from error
    if content_digest(content) != header.get(DIGEST):
        raise UserError(f"checkpoint '{path}' is damaged: its content does not fit its digest; {remedy}")
    return {**content, "state_dict": {k: v.float() if v.dtype == torch.float16 else v for k, v in state.items()}}


def _stored(value: Tensor, in_half: bool) -> Tensor:
    """Copy to memory of its own, in the order of its dimensions, which the format demands and the digest covers."""
    return (value.half() if in_half else value).reshape(-1).clone().view(value.shape)
