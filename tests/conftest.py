"""What all tests share: where real data lie, one thread budget, and a way to run entry points in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

CONF = Path(__file__).parents[1] / "conf"


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
    yield _compose
    GlobalHydra.instance().clear()


def _compose(name: str, run_dir: Path, *overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    initialize_config_dir(str(CONF), version_base="1.3")
    given = [f"hydra.run.dir={run_dir}", f"hydra.runtime.output_dir={run_dir}", *overrides]
    config = compose(name, overrides=given, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config
