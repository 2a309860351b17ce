"""Read files of `torch.save`, zipped or not, in bounded memory and time; nothing in them is imported or called.

`torch.load` trusts a file: it inflates compressed records, allocates the sizes that records declare, follows memo
indices of any size, and does not compare checksums. Here memory and time are bounded by the size of the file, and by
limits that no checkpoint comes near.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from src.errors import UserError, absence
from src.tensor_files.unpickle import Opcodes, Rejected, TensorUnpickler

CONTAINERS = ("state_dict", "model_state", "model_state_dict", "model")
MOST_VALUES = 1_000_000  # in nested containers, each counted as often as a walk meets it
DEEPEST = 50  # nesting
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the format before torch 1.6, which is no archive
MOST_INFLATED = 1 << 26  # bytes, of a file that was packed again


def read_tensor_file(path: str | Path, remedy: str, *, foreign: bool = False) -> Any:
    """Read the tensors, on the CPU, and the plain Python of a file of `torch.save`.

    Args:
        path: of the file.
        remedy: end of the error message.
        foreign: objects of other classes become inert placeholders instead of being rejected.

    Raises:
        UserError: not such a file, a damaged one, or one that is larger inside than outside.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint '{path}' {absence(path)}; {remedy}")
    try:
        with open(path, "rb") as file:
            is_archive = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            content = _read_archive(file, foreign) if is_archive else _read_stream(file, foreign)
        _check_extent(content)
    except Exception as error:  # damaged bytes make the readers of archives and pickles raise anything
        reason = str(error) if isinstance(error, (Rejected, zipfile.BadZipFile)) else type(error).__name__
        raise UserError(f"checkpoint '{path}' cannot be read ({reason[:200]}); {remedy}") from error
    return content


def read_state_dict(path: str | Path, remedy: str, *, foreign: bool = False) -> dict[str, Tensor]:
    """Read the state dict in a file of `torch.save`, out of its container and without `module.`.

    Args:
        path: of the file.
        remedy: end of the error message.
        foreign: as in `read_tensor_file`.

    Raises:
        UserError: see `read_tensor_file`; no state dict in it, or weights that are not finite.
    """
    state = unwrap(read_tensor_file(path, remedy, foreign=foreign), f"checkpoint '{path}'")
    check_finite(state, path, remedy)
    return state


def unwrap(content: Any, origin: str) -> dict[str, Tensor]:
    """Return the state dict inside `content`: itself, or under one of `CONTAINERS`; leading `module.` removed.

    Raises:
        UserError: `content` holds no state dict.
    """
    while isinstance(content, Mapping):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    if not tensors or not content:
        raise UserError(
            f"{origin} holds no state dict; expected tensors by name, bare or under {', '.join(CONTAINERS)}"
        )
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def check_finite(state: dict[str, Tensor], path: str | Path, remedy: str) -> None:
    """Reject weights that are not finite.

    Raises:
        UserError: a tensor with NaN or infinity.
    """
    for name, value in state.items():
        wide = value.float() if value.dtype.itemsize == 1 else value  # float8 cannot be asked
        if value.is_floating_point() and not bool(wide.isfinite().all()):
            raise UserError(
                f"checkpoint '{path}' is rejected: weights {ascii(name)[:200]} hold NaN or infinity; {remedy}"
            )


def _read_archive(file: IO[bytes], foreign: bool) -> Any:
    with zipfile.ZipFile(file) as archive:
        records = {record.filename.partition("/")[2]: record for record in archive.infolist()}
        declared = sum(record.file_size for record in records.values())  # more than that is not inflated
        known = all(r.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for r in records.values())
        if not known or len(records) != len(archive.infolist()) or declared > max(_size(file), MOST_INFLATED):
            raise Rejected(f"its records overlap, or are compressed, which torch does not do: {declared} bytes")

        def read(record: zipfile.ZipInfo) -> bytes:
            with archive.open(record) as opened:
                data = opened.read(record.file_size)  # without a number it would inflate all that there is
            if len(data) != record.file_size:
                raise Rejected("it ends within its records")
            return data

        def stored(key: str, count: int) -> Tensor:
            record = records.pop(f"data/{key}")
            if record.file_size != count:
                raise Rejected(f"record {ascii(key)[:40]} holds {record.file_size} of {count} bytes")
            return torch.frombuffer(bytearray(read(record)), dtype=torch.uint8) if count else torch.empty(0)

        if "byteorder" in records and read(records["byteorder"]) != b"little":
            raise Rejected("it is of a big-endian machine")
        content = TensorUnpickler(Opcodes(read(records.pop("data.pkl"))), foreign, stored).load()
        for record in records.values():
            read(record)  # compares the checksum of what the pickle does not refer to
    return content


def _read_stream(file: IO[bytes], foreign: bool) -> Any:
    """Read the format before torch 1.6: pickles, then the storages that they refer to; it has no checksums."""
    left, storages = _size(file), {}

    def promised(key: str, count: int) -> Tensor:
        nonlocal left
        left -= count
        if left < 0 or count < 0:
            raise Rejected("it declares more tensors than it has bytes")
        storages[key] = torch.empty(count, dtype=torch.uint8)
        return storages[key]

    pickles = Opcodes(file.read())
    head = [TensorUnpickler(pickles, foreign, promised).load() for _ in range(3)]
    if head[:2] != [MAGIC, VERSION] or not isinstance(head[2], dict) or not head[2].get("little_endian", True):
        raise Rejected("it is not a file of torch.save")
    unpickler = TensorUnpickler(pickles, foreign, promised)
    content, keys = unpickler.load(), TensorUnpickler(pickles, foreign, promised).load()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise Rejected("its tensors are not those that it lists")
    for key in map(str, keys):
        storage = storages[key]
        declared = int.from_bytes(io.BytesIO.read(pickles, 8), "little") * unpickler.item_sizes[key]
        data = io.BytesIO.read(pickles, storage.numel())
        if declared != storage.numel() or len(data) != declared:
            raise Rejected("it ends within its tensors")
        if declared:
            storage.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return content


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _check_extent(content: Any) -> None:
    """Reject containers that refer to each other so often that walking them would take forever."""
    waiting, met = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        met += 1
        if met > MOST_VALUES or depth > DEEPEST:
            raise Rejected("it is nested deeper or larger than any checkpoint")
        if isinstance(value, dict):
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += [(inner, depth + 1) for inner in value]
