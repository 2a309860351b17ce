"""Run a part of a network in torch, at lower precision or compiled."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from src.inference.engine.options import Engine
from src.inference.engine.part import Part, Run
from src.models.deploy.activated_conv import activate_in_convolutions

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def torch_part(part: Part, engine: Engine) -> Run:
    """Return a function that runs a copy of the part in the precision."""
    dtype = DTYPES[engine.precision]
    fast = deepcopy(part)
    if next(fast.parameters()).device.type == "cpu" and engine.backend == "torch":
        activate_in_convolutions(fast.net)
    fast = fast.to(dtype)
    run = torch.compile(fast) if engine.backend == "compile" else fast

    def cast_run(x: Tensor) -> Tensor:
        out: Tensor = run(x.to(dtype))
        return out.to(part.given)

    return cast_run
