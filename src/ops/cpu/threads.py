"""Decide when CPU kernels replace torch's operators, and run them in torch's threads.

Kernels release the GIL and run in torch's own team of OpenMP threads: its members spin for milliseconds after each
operator, and threads of another pool would have to share the cores with them.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from src.ops import cpu, standard

Parts = NDArray[np.int64]
PROCESS = os.getpid()  # a process forked from it has no team, and GNU OpenMP would wait for one for ever
FLOATS = (torch.float32, torch.bfloat16)
MAPS = Path("/proc/self/maps")  # what is loaded, on Linux


def can_use_cpu_kernel(*tensors: Tensor) -> bool:
    """Return whether kernels may compute with the tensors.

    They are enabled, the tensors are float32 or bfloat16 on CPU, and nothing traces or differentiates.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    watched = torch.is_grad_enabled() or traced or torch.compiler.is_compiling()
    # Counters of FLOPs and runs on shapes alone are dispatch modes, for which torch has no public question.
    if standard.only or not cpu.enabled or watched or _get_current_dispatch_mode() is not None:
        return False
    return all(type(x) is Tensor and x.device.type == "cpu" and x.dtype in FLOATS for x in tensors)


def as_array(x: Tensor) -> NDArray[Any]:
    """The memory of a tensor; NumPy has no bfloat16, kernels take it as uint16."""
    array: NDArray[Any] = x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()
    return array


def as_tensor(x: NDArray[Any]) -> Tensor:
    """The reverse of `as_array`."""
    tensor = torch.from_numpy(x)
    return tensor.view(torch.bfloat16) if x.dtype == np.uint16 else tensor


def parallel_for(work: Callable[[Any], None], parts: Parts) -> None:
    """Call `work` with every n-th of the parts in each of torch's n threads, so that there is one thread budget."""
    threads = min(torch.get_num_threads(), len(parts))
    if threads == 1:
        work(parts)
        return
    openmp = _openmp()  # private to one platform; everywhere else a pool of plain threads does the same
    if openmp is not None and os.getpid() == PROCESS:
        _share_in_team(openmp, work, parts, threads)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, (parts[i::threads].copy() for i in range(threads))))


def _share_in_team(openmp: ctypes.CDLL, work: Callable[[Any], None], parts: Parts, threads: int) -> None:
    errors: list[BaseException] = []

    def member(_: Any) -> None:
        try:
            work(parts[openmp.omp_get_thread_num() :: openmp.omp_get_num_threads()].copy())
        except BaseException as error:  # raised in a callback it would only be printed
            errors.append(error)

    openmp.GOMP_parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(member), None, threads, 0)
    if errors:
        raise errors[0]


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """Return the GNU OpenMP library that torch runs in; None where it is another one or ambiguous."""
    if not MAPS.exists():
        return None
    loaded = set(re.findall(r"/\S*libgomp\S*", MAPS.read_text()))
    bundled = {path for path in loaded if path.startswith(str(Path(torch.__file__).parent))}  # other packages do, too
    found = bundled or loaded
    return ctypes.CDLL(found.pop()) if len(found) == 1 else None
