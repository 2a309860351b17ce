"""Runs functions in processes of their own, alone or as the ranks of one training; they can be killed."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch.distributed as dist

CONTEXT = multiprocessing.get_context("forkserver")  # forks of a process that has never computed anything
CONTEXT.set_forkserver_preload(["src.commands.train", "src.data.module", "src.training.modules.segmentation"])
PATIENCE = 900  # seconds on a busy machine


def start(function: Callable[..., Any], *arguments: Any, log: Path, **environment: str) -> BaseProcess:
    """Start `function(*arguments)`, which is importable, with its output in a file."""
    process = CONTEXT.Process(target=_run, args=(function, arguments, log, environment))
    process.start()
    return process


def finish(process: BaseProcess, log: Path) -> None:
    """Wait for a process that must end well."""
    process.join(PATIENCE)
    if process.exitcode != 0:
        process.kill()
        raise RuntimeError(f"ended with {process.exitcode}\n{log.read_text()[-5000:]}")


def together(world: int, function: Callable[..., Any], *arguments: Any, log: Path) -> None:
    """Run `function(*arguments)` as each of the ranks that Lightning would start.

    They meet at a store of this process, as under torchrun: its port is bound before anyone hears of it.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(world), "NODE_RANK": "0"}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    logs = [log.with_suffix(f".{rank}") for rank in range(world)]
    processes = [
        start(function, *arguments, log=logs[r], RANK=str(r), LOCAL_RANK=str(r), **shared) for r in range(world)
    ]
    try:
        for process, path in zip(processes, logs, strict=True):
            finish(process, path)
    finally:
        for process in processes:
            process.kill()


def _run(function: Callable[..., Any], arguments: tuple[Any, ...], log: Path, environment: dict[str, str]) -> None:
    os.environ |= environment
    with log.open("ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        function(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
