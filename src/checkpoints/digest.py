"""Digests in a checkpoint: of its content, which outlives packing into another archive, and of all its bytes."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from src.errors import UserError

KEY = "digest"  # in the content
MARK = b"xxh3-128 "  # before the digest of the bytes, in the archive's comment
COMMENT = len(MARK) + 32
CHUNK = 1 << 24  # bytes


def serialise(content: dict[str, Any]) -> io.BytesIO:
    """Return the bytes of a checkpoint file with both digests; tensors are copied to the CPU once."""
    content, file = _on_cpu(content, {}), io.BytesIO()
    torch.save({**content, KEY: content_digest(content)}, file)
    with file.getbuffer() as written:
        written[-2:] = COMMENT.to_bytes(2, "little")  # the archive ends with the length of its comment
        comment = MARK + xxhash.xxh3_128_hexdigest(written).encode()
    file.seek(0, os.SEEK_END)
    file.write(comment)
    return file


def content_digest(content: dict[str, Any]) -> str:
    """Hexadecimal digest of plain Python and tensors without what is under `KEY`."""
    digest = xxhash.xxh3_128()
    _add(digest, {key: value for key, value in content.items() if key != KEY})
    return digest.hexdigest()


def check_bytes(path: Path) -> None:
    """Compare the bytes of a file with their digest, if it ends with one.

    Raises:
        UserError: they differ.
    """
    with path.open("rb") as file:
        comment = zipfile.ZipFile(file).comment if zipfile.is_zipfile(file) else b""
        if not comment:  # of an earlier version, or packed again
            return
        digest, left = xxhash.xxh3_128(), file.seek(0, os.SEEK_END) - len(comment)
        file.seek(0)
        while left > 0 and (block := file.read(min(CHUNK, left))):
            digest.update(block)
            left -= len(block)
    if comment != MARK + digest.hexdigest().encode():
        raise UserError(
            f"checkpoint '{path}' is damaged: its bytes are not those that were written; copy it again, or take another"
        )


def check_content(content: dict[str, Any], path: Path) -> None:
    """Compare content with its digest, if it has one.

    Raises:
        UserError: it was changed.
    """
    if KEY in content and content[KEY] != content_digest(content):
        raise UserError(
            f"checkpoint '{path}' is damaged: its content does not fit its digest; take another, or remove its key "
            f"'{KEY}' if you have changed it yourself"
        )


def _add(digest: xxhash.xxh3_128, value: Any) -> None:
    """Add a value with its kind and extent, so that no two different contents are read the same."""
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}{value.stride()}".encode())
        order = sorted(range(value.dim()), key=value.stride, reverse=True)  # of memory: channels last are not copied
        digest.update(value.detach().permute(order).contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        digest.update(f"dict{len(value)}".encode())
        for key, inner in value.items():
            digest.update(ascii(key).encode())
            _add(digest, inner)
    elif isinstance(value, (list, tuple)):
        digest.update(f"list{len(value)}".encode())
        for inner in value:
            _add(digest, inner)
    else:
        digest.update(ascii(value).encode())


def _on_cpu(value: Any, copies: dict[Any, Tensor]) -> Any:
    """Copy tensors of other devices; those that share their memory there share it here.

    Attributes that a library has set on tensors are left out, as FSDP's are no plain data.
    """
    if isinstance(value, Tensor) and value.device.type != "cpu":
        place = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if place not in copies:
            copies[place] = value.detach().cpu()
        return copies[place]
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: _on_cpu(inner, copies) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_on_cpu(inner, copies) for inner in value]
    return value
