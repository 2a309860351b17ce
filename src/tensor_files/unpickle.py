"""Unpickle what `torch.save` writes: tensors and plain Python; no name in a pickle is imported, no object is called."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

MOST_OPCODES = 2_000_000  # of a pickle; a training with 400 tensors writes 30,000
PYTHON: Any = pickle._Unpickler  # the one in C reserves memory for any index that a file names
LARGEST_RANK = 16  # axes of a tensor, and of a key
# Of other protocols than torch's, 2: some allocate before they read, hash what takes forever, or call.
REJECTED = (
    *(pickle.DICT, pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.FRAME),
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EMPTY_SET, pickle.ADDITEMS),
    pickle.FROZENSET,
)
DTYPES = {  # by the first word of a storage's class
    **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128, "Bool": torch.bool, "Untyped": torch.uint8},
}


class Rejected(ValueError):
    """Raised with a reason that can be printed."""


class Opcodes(io.BytesIO):
    """Bytes of pickles, whose opcodes are counted by their reads."""

    left = MOST_OPCODES

    def read(self, count: int | None = -1) -> bytes:
        """Read and count; `io.BytesIO.read` does not count."""
        self.left -= 1
        if self.left < 0:
            raise Rejected("its pickle is longer than that of any checkpoint")
        return super().read(count)


class _Inert:
    """Stands for any object of a class that is not needed to rebuild tensors."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> _Inert:
        return self

    def append(self, value: Any) -> None:
        """Swallow a list item."""

    def extend(self, values: Any) -> None:
        """Swallow list items."""


def _shape(size: tuple[int, ...]) -> tuple[int, ...]:
    """Stand for `torch.Size`."""
    return size[:LARGEST_RANK]


def _tensor(flat: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    """Stand for `torch._utils._rebuild_tensor_v2`, and for `_v3`, which is given the type too."""
    flat = flat.view(rest[2]) if len(rest) > 2 and isinstance(rest[2], torch.dtype) else flat
    if len(size) > LARGEST_RANK or math.prod(size) > flat.numel():
        raise Rejected("a tensor is larger than what is stored of it")
    return flat.as_strided(size, stride, offset)


class TensorUnpickler(PYTHON):  # type: ignore[misc]
    """Rebuilds tensors and plain Python; calls nothing else.

    Args:
        file: the pickle.
        foreign: whether other classes become `_Inert`.
        storage: gives the bytes of a storage by its key and their number.
    """

    def __init__(self, file: Opcodes, foreign: bool, storage: Callable[[str, int], Tensor]) -> None:
        super().__init__(file, encoding="latin1")
        self.foreign, self.storage = foreign, storage
        self.copied = 0
        self.storages: dict[str, Tensor] = {}
        self.item_sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a class or function by its name."""
        known = {
            ("collections", "OrderedDict"): self._ordered,
            ("torch", "Size"): _shape,
            ("torch", "device"): torch.device,
            ("torch._utils", "_rebuild_tensor"): _tensor,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_tensor_v3"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }
        if (module, name) in known:
            return known[module, name]
        if module in ("torch", "torch.cuda", "torch.storage") and name.removesuffix("Storage") in DTYPES:
            return DTYPES[name.removesuffix("Storage")]
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):  # getattr would import
            return vars(torch)[name]
        if not self.foreign:
            raise Rejected(f"it contains {ascii(f'{module}.{name}')[:80]}, which is no plain data")
        return _Inert

    def persistent_load(self, reference: Any) -> Tensor:
        """Return the storage that a tensor refers to, flat and of its type."""
        if not isinstance(reference, tuple) or len(reference) < 5 or reference[5:] not in ((), (None,)):
            raise Rejected("it refers to something else than tensors")
        kind, dtype, key, _, count = reference[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise Rejected("it refers to something else than tensors")
        size = count * dtype.itemsize
        if key not in self.storages:
            self.storages[key] = self.storage(key, size)
            self.item_sizes[key] = dtype.itemsize
        if self.storages[key].numel() != size:
            raise Rejected("two tensors differ in the size of what they share")
        return self.storages[key].view(dtype) if size else torch.empty(0, dtype=dtype)

    def _ordered(self, pairs: Iterable[Any] = ()) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, value in pairs:
            self.copied += 1
            if self.copied > MOST_OPCODES:
                raise Rejected("it copies itself")
            self._set(made, key, value)
        return made

    def _set(self, target: Any, key: Any, value: Any) -> None:
        if not _is_key(key) and not (isinstance(key, tuple) and len(key) < LARGEST_RANK and all(map(_is_key, key))):
            raise Rejected("its mappings have other keys than names and numbers")
        if isinstance(target, dict):
            target[key] = value

    def load_setitem(self) -> None:
        """Set one item of a mapping; an item of anything else is dropped."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], key, value)

    def load_setitems(self) -> None:
        """Set items of a mapping."""
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(self.stack[-1], key, value)

    def load_reduce(self) -> None:
        """Call a stand-in."""
        arguments = self.stack.pop()
        if not isinstance(arguments, tuple):
            raise Rejected("it calls with something else than arguments")
        self.stack[-1] = self.stack[-1](*arguments)

    def load_newobj(self) -> None:
        """Make a placeholder."""
        if self.stack[-2] is not _Inert:
            raise Rejected("it makes something else than plain data")
        self.stack[-2:] = [_Inert()]

    def load_build(self) -> None:
        """Drop an object's attributes: plain data has none."""
        self.stack.pop()

    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in PYTHON.dispatch.items() if bytes([code]) not in REJECTED
    }
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build


def _is_key(value: Any) -> bool:
    """Whether hashing a value takes no time and numbers do not share their hashes."""
    is_number = isinstance(value, int) and value.bit_length() < 60
    return is_number or value is None or isinstance(value, (str, bytes, float, _Inert))
