"""Reading a foreign checkpoint file without running what it contains."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor

from src.errors import UserError

CONTAINERS = ("state_dict", "model_state", "model_state_dict", "model")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of `torch.save`, on the CPU, out of its container and without `module.`.

    Objects other than tensors and plain Python, such as mmengine's message hub, become inert placeholders: no
    code of the file is imported or run.

    Raises:
        UserError: no such file, not a checkpoint, or no state dict in it.
    """
    if not path.is_file():
        raise UserError(f"checkpoint '{path}' does not exist; give the file of the official release")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        content = _load_tensors_only(path)
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError(f"'{path}' cannot be read as a checkpoint ({error}); download it again") from error
    return unwrap(content, str(path))


def unwrap(content: Any, origin: str) -> dict[str, Tensor]:
    """The state dict inside `content`: itself, or under one of `CONTAINERS`; leading `module.` removed.

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


class _Inert:
    """Stands for any object of a class that is not needed to rebuild tensors."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> _Inert:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Swallow a list item."""

    def extend(self, values: Any) -> None:
        """Swallow list items."""


# The names that tensors need to be rebuilt; torch resolves storage types before it asks.
NEEDED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class _TensorsOnly(pickle.Unpickler):
    """Resolves `NEEDED`, and every other name to `_Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        return NEEDED.get((module, name), _Inert)


def _load_tensors_only(path: Path) -> Any:
    def load(file: IO[bytes], **options: Any) -> Any:
        return _TensorsOnly(file, **options).load()

    pickler = SimpleNamespace(Unpickler=_TensorsOnly, load=load, __name__="tensors_only")
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=pickler)
    except (pickle.UnpicklingError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' cannot be read as a checkpoint ({error}); download it again") from error
