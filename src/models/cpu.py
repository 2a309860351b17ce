"""When the CPU kernels of inference take the place of torch's operators, and the threads they run in.

Kernels release the GIL and are started from Python threads, not by Numba's own pool: that one aborts a data
loader worker forked after its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode


def is_plain_inference(*tensors: Tensor) -> bool:
    """Whether all is float32 on CPU, and no gradient, tracer, compiler or FLOP counter looks on."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    watched = torch.is_grad_enabled() or traced or torch.compiler.is_compiling()
    if watched or _get_current_dispatch_mode() is not None:
        return False
    return all(type(x) is Tensor and x.device.type == "cpu" and x.dtype == torch.float32 for x in tensors)


def share(work: Callable[[Any], None], parts: NDArray[np.int64]) -> None:
    """Call `work` with every n-th of the parts in each of torch's n threads, so that there is one thread budget."""
    threads = min(torch.get_num_threads(), len(parts))
    if threads == 1:
        work(parts)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, (parts[i::threads].copy() for i in range(threads))))
