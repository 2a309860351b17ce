"""What all tests share: where real data lie, one thread budget, and a way to run entry points in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from tests.support.configs import compose_config


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The 480x360 copy of CamVid."""
    root = os.environ.get("CAMVID_ROOT")
    if root is None:
        pytest.skip("CAMVID_ROOT is not set: this test needs the real CamVid")
    return Path(root)


@pytest.fixture(scope="session")
def street_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of prepared clips for all tests that train on small street films."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """Compose a configuration as an entry point sees it: `composed("train", run_dir, "experiment=..", ..)`."""
    yield compose_config
    GlobalHydra.instance().clear()
