"""The choice of device and threads."""

from __future__ import annotations

import os

import pytest
import torch

from src.errors import UserError
from src.inference.device import choose_device, choose_threads


def test_auto_is_a_device_that_answers() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cud", "cuda:99", "", None, 3.5])
def test_a_device_that_does_not_answer_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"device={name} cannot be used here; give device=cpu or auto"):
        choose_device(name)


def test_threads_are_those_of_the_process_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert choose_threads(None) == choose_threads(10_000) == cores
    assert choose_threads(1) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert choose_threads(None) == 1
    assert choose_threads(10_000) == cores, "an explicit number counts more than the environment's"
