"""Choose the form of an operator: Numba on CPU, Triton on CUDA, torch's own operators elsewhere."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from src.ops import cpu, standard, triton

MAX_TRITON_WINDOW = 15
TRITON_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def attention_form(query: Tensor, window: int) -> Literal["cpu", "triton", "shifts"]:
    """Choose the form of local attention for a query and a side of the window."""
    if cpu.enabled and query.device.type == "cpu" and window == 7 and query.dtype != torch.float64:
        return "cpu"
    return "triton" if window <= MAX_TRITON_WINDOW and can_use_triton(query) else "shifts"


def can_use_triton(*tensors: Tensor) -> bool:
    """Return whether Triton is installed and runs on the tensors' device and in their types."""
    return (
        triton.enabled
        and not standard.only
        and all(
            x.device.type in triton.DEVICES and x.dtype in TRITON_TYPES and _is_new_enough(x.device) for x in tensors
        )
    )


def _is_new_enough(device: torch.device) -> bool:
    """Whether kernels run on a GPU; without one, its tensors are fake and stand for any."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return True
    major: int = torch.cuda.get_device_properties(device).major  # which torch.compile takes as a constant
    return major >= triton.CAPABILITY
