"""torch.compile, part by part and in place, so that checkpoints keep their names."""

from __future__ import annotations

import torch
from torch import nn

from src.errors import UserError
from src.models.base import Segmenter


def compile_parts(net: nn.Module, backend: str) -> None:
    """Compile what a network is made of.

    Training calls other methods of a network than `forward`, so its parts are compiled rather than itself; parts
    of that kind, such as AR-Seg's branches, are looked into in turn.

    Raises:
        UserError: an unknown backend.
    """
    known = torch._dynamo.list_backends(None)
    if backend not in known:
        raise UserError(f"compile={backend} is not a backend of torch.compile; choose one of {', '.join(known)}")
    for part in net.children():
        if isinstance(part, Segmenter) or type(part).forward is nn.Module.forward:
            compile_parts(part, backend)
        else:
            part.compile(backend=backend)
