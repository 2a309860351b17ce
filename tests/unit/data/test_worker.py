"""Processes of data loaders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from src.data.worker import start_worker
from tests.support.configs import ROOT

PATIENCE = 60  # seconds on a busy machine


class Processes(Dataset[torch.Tensor]):
    """Numbers of the processes that load them."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(os.getpid())


def load_for_ever() -> None:
    loader = DataLoader(
        Processes(), 1, num_workers=2, multiprocessing_context="forkserver", worker_init_fn=start_worker
    )
    for processes in (numbers for _ in iter(int, 1) for numbers in loader):
        print(int(processes), flush=True)
        time.sleep(0.1)


@pytest.mark.subprocess
def test_no_process_survives_a_killed_training() -> None:
    code = "import tests.unit.data.test_worker as test; test.load_for_ever()"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = {int(process.stdout.readline()) for _ in range(4)}
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {Path(f"/proc/{worker}") for worker in workers}
    for _ in range(10 * PATIENCE):
        left = {path for path in left if path.exists() and ") Z " not in (path / "stat").read_text()}
        if not left:
            return
        time.sleep(0.1)
    for path in left:
        os.kill(int(path.name), signal.SIGKILL)
    pytest.fail(f"{len(left)} of 2 workers are there after {PATIENCE} s")
