"""Write a checkpoint file of a network, complete or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from src.checkpoints.digest import serialise
from src.checkpoints.metadata import KEY, PREFIX
from src.errors import UserError
from src.files import atomic_write


def content_of(net: nn.Module, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a checkpoint with the weights of a network."""
    return {"state_dict": {f"{PREFIX}{key}": value for key, value in net.state_dict().items()}, KEY: metadata}


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write the content of a checkpoint with its digest; a file already there is replaced, and its folder is made.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, unique=False, sync=True) as temporary:
            temporary.write_bytes(serialise(content).getbuffer())
    except OSError as error:
        raise UserError(f"output '{path}' cannot be written ({error.strerror}); make room, or give another") from error
