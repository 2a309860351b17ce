"""Processes of data loaders: one thread each, ended by their parent, and ended by a limit of the machine."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from multiprocessing.queues import Queue
from types import TracebackType

import cv2
import torch

from src.interruption import end_with_parent, leave_signals_to_parent

LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ENOBUFS)


def start_worker(worker: int) -> None:
    """Prepare the process of a data loader.

    Where it cannot hand a batch over, Python prints a traceback, for ever in one case, and the parent waits: end the
    process instead, with the number of the system's error as exit status, which PyTorch reports to the parent.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    leave_signals_to_parent()
    end_with_parent()
    Queue._on_queue_feeder_error = staticmethod(_end_after)  # type: ignore[attr-defined]
    sys.excepthook = _end_at_limit  # multiprocessing's server of file descriptors calls it


def _end_after(error: BaseException, batch: object) -> None:
    named = re.search(r"\((\d+)\)$", str(error))  # by PyTorch, for files in shared memory
    number = getattr(error, "errno", None) or (int(named[1]) if named else None)
    if number is None:  # not a limit: a batch that cannot be sent
        traceback.print_exception(error)
    os._exit(number or 1)


def _end_at_limit(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, OSError) and error.errno in LIMITS:
        os._exit(error.errno)
    sys.__excepthook__(kind, error, trace)
