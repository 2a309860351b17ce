"""Choose the precision of training."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from src.errors import UserError, check_range
from src.models.backbones.resnet import ResNet
from src.models.base import Segmenter
from src.ops.mixed_precision import DepthwiseBackwardInFloat, computes_in_bfloat16
from src.training.devices import on_cpu

PRECISIONS = ("auto", "bf16-mixed", "16-mixed", "32-true")
SHORT_NAMES = {"bf16": "bf16-mixed", "16": "16-mixed", "32": "32-true"}


def resolved_precision(precision: str | int, accelerator: str) -> str | int:
    """Return a configured precision, for "auto" what the hardware here is fast in.

    That is bf16-mixed on accelerators and CPUs that compute in bf16, 16-mixed on older CUDA devices, else fp32.
    """
    if precision != "auto":
        return precision
    return _fastest(on_cpu(accelerator))


def trainer_precision(precision: str | int, accelerator: str) -> dict[str, Any]:
    """Return the Trainer's arguments for a configured precision.

    Raises:
        UserError: a precision that keeps weights and inputs in 16 bits, which rounds motion by 0.1 pixels and more,
            or that does not run here.
    """
    cpu = on_cpu(accelerator)
    precision = SHORT_NAMES.get(str(precision), precision)
    known = [name for name in PRECISIONS if not (cpu and name == "16-mixed")]
    check_range(precision in known, "trainer.precision", precision, f"one of {', '.join(known)}: weights in 32 bits")
    if precision == "auto":  # of a trial that is only built; `src.train` has it resolved
        precision = _fastest(cpu)
    if cpu and precision == "bf16-mixed":
        return {"precision": None, "plugins": [CPUMixedPrecision()]}
    return {"precision": precision}


def _fastest(cpu: bool) -> str:
    if computes_in_bfloat16("cpu" if cpu else "cuda"):
        return "bf16-mixed"
    return "16-mixed" if not cpu and torch.cuda.is_available() else "32-true"


class CPUMixedPrecision(MixedPrecision):
    """bf16 autocast, with gradients of depthwise convolutions computed in fp32."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")

    @contextmanager
    def forward_context(self) -> Generator[None, None, None]:
        """Autocast for one training or evaluation step."""
        with super().forward_context(), DepthwiseBackwardInFloat():
            yield


def compile_parts(net: nn.Module, backend: str) -> None:
    """Compile the parts of a network.

    Training calls other methods of a network than `forward`, so its parts are compiled rather than itself; parts
    of that kind, such as AR-Seg's branches, are looked into in turn. Of a backbone that recomputes its blocks these
    are compiled: the compiler cannot trace through recomputation.

    Raises:
        UserError: an unknown backend.
    """
    known = torch.compiler.list_backends(None)
    if backend not in known:
        raise UserError(f"compile={backend} is not a backend of torch.compile; choose one of {', '.join(known)}")
    for part in net.children():
        in_blocks = isinstance(net, ResNet) or (isinstance(part, ResNet) and part.recompute)
        if in_blocks or isinstance(part, Segmenter) or type(part).forward is nn.Module.forward:
            compile_parts(part, backend)
        else:
            part.compile(backend=backend)
