"""The choice of device and number of threads, the same for every command that runs networks."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path

import torch

from src.errors import UserError, check_whole


def choose_device(name: str) -> torch.device:
    """Return the device of a name such as cpu, cuda, cuda:1 or mps; auto is cuda where there is one, else cpu.

    Raises:
        UserError: no such device, or it does not answer.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=torch.device(name)).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise UserError(f"device={name} cannot be used here; give device=cpu or auto") from error


def choose_threads(requested: int | None) -> int:
    """Return the requested number of threads, at most the cores that this process may use.

    None stands for all of these, or for OMP_NUM_THREADS where that is set: processes that share a machine then keep
    out of each other's way.

    Raises:
        UserError: less than one thread.
    """
    check_whole("threads", requested, 1, null="all cores")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = os.environ.get("OMP_NUM_THREADS", "")
    return min(requested or (int(usual) if usual.isdecimal() and int(usual) else cores), cores)


def hardware(device: torch.device) -> str:
    """Name of the processor, or of the accelerator."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far, where the system can: on CUDA and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float | None:
    """Most memory in MB (10^6 bytes) since the reset: of the accelerator, or resident; None where it is not known."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    status = Path("/proc/self/status")
    peaks = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else []
    return round(int(peaks[0]) * 1024 / 1e6, 1) if peaks else None
