"""Checkpoints at an address: fetched once, and only what has the digest that was given."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch

from src.download import FAILURES, receive
from src.errors import UserError
from src.files import atomic_write

ADDRESS = re.compile(r"(https?):/{1,2}([^#]+)(?:#(.*))?", re.IGNORECASE)  # `Path` makes one slash of two
DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")
LARGEST = 4 << 30  # bytes; checkpoints of training, with all states, have a tenth


def is_address(checkpoint: str | Path) -> bool:
    """Return whether a checkpoint is named by an address, in place of a path or name."""
    return ADDRESS.fullmatch(str(checkpoint)) is not None


def local_copy(checkpoint: str | Path) -> Path:
    """Return the path of the file at an address `URL#sha256=DIGEST`, which is downloaded the first time.

    Copies are kept where PyTorch keeps weights (TORCH_HOME), each below its digest.

    Raises:
        UserError: no digest, no connection, another digest, more than `LARGEST` bytes, or a folder that cannot be
            written.
    """
    match = ADDRESS.fullmatch(str(checkpoint))
    assert match is not None, "see is_address"
    url, shown = f"{match[1]}://{match[2]}", f"{match[1]}://{match[2].partition('?')[0]}"
    digest = DIGEST.fullmatch(match[3] or "")
    if digest is None:
        raise UserError(
            f"checkpoint '{shown}' is an address without its digest; give '{shown}#sha256=DIGEST' with the 64 digits "
            "that sha256sum prints of the file"
        )
    expected = digest[1].lower()
    name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-100:] or "checkpoint"
    path = Path(torch.hub.get_dir()) / "checkpoints" / expected[:32] / name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            receive(url, partial, LARGEST)
            with partial.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                raise UserError(
                    f"checkpoint '{shown}' has the digest sha256={found}, not {expected}; nothing is kept: check both"
                )
    except FAILURES as error:
        raise UserError(
            f"checkpoint '{shown}' could not be fetched into '{path.parent}' ({error}); check address and connection, "
            "or download it yourself and give the file"
        ) from error
    return path
