"""Settings of the C library's memory allocator."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the process reuse the memory of freed tensors instead of giving it back to the system.

    By default glibc maps every large block anew and the system clears its pages one by one as they are touched,
    for each layer of each frame. Memory in use never shrinks from then on. Does nothing without glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # whose top stays
