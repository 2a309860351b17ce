"""What all tests share: where real data lie, markers, a fresh global state, and a way to compose configurations."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from src.interruption import SIGNALS, _Watch
from tests.support.configs import compose_config

for number in (signal.SIGINT, signal.SIGHUP):  # which `nohup` and `&` leave ignored, also for the processes of tests
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

with contextlib.suppress(ImportError):  # comes with TensorBoard
    import absl.logging

    # It keeps the standard error of its import, here a file of pytest, and closes it when Hydra configures logging.
    absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

MARKER_OF_FIXTURE = {"camvid_root": "real_data", "street_cache": "train"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they ask for: real data by their fixture, trainings by the clips that they share."""
    for item in items:
        for fixture, marker in MARKER_OF_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The 480x360 copy of CamVid."""
    root = os.environ.get("CAMVID_ROOT")
    if root is None:
        pytest.skip("CAMVID_ROOT is not set: this test needs the real CamVid")
    return Path(root)


@pytest.fixture(scope="session")
def street_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of prepared clips for all tests that train on small street videos."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _global_state() -> Iterator[None]:
    """Seed a test, and restore what it may have changed in this process."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    levels = {name: logging.getLogger(name).level for name in ("", "src", "lightning")}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    _Watch.process = _Watch.received = _Watch.deferred = None  # else the next test's signal is a second one
    torch.set_num_threads(threads)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    GlobalHydra.instance().clear()
    if slurm := sys.modules.get("src.training.slurm"):
        slurm.SaveAndStop.announced = False


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """Compose a configuration as an entry point sees it: `composed("train", run_dir, "experiment=..", ..)`."""
    return compose_config
