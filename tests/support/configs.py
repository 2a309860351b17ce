"""Compose configurations as the entry points do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from src.cli.studies import with_trials  # imports src.cli.config, which registers resolvers

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
Compose = Callable[..., DictConfig]  # the fixture `composed`
TINY = f"hydra.searchpath=[file://{ROOT}/tests/support/conf]"  # an override: configurations of the tests' own networks
FILMS = [
    "data.source.films={train:2,val:1}",
    "data.source.length=24",
    "data.source.height=48",
    "data.source.width=64",
    "data.crop=[32,48]",
    "data.batch_size=2",
    "data.workers=0",
    "data.val_distances=[1,3]",
    "data.val_stride=5",
    "video.gop=4",
    "video.preset=veryfast",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
]
ARSEG = [
    "model=arseg",
    "network=tiny",
    "model.phases.constant=null",
    "model.high_epochs=2",
    "model.low_epochs=2",
]
TDNET = [
    "model=tdnet",
    "network=tiny_tdnet",
    "network@model.teacher=pspnet18",
    "model.phases.image=null",
    "model.phases.stills.needs.start_from=null",
    "model.phases.clips=null",
    "model.image_epochs=1",
    "model.still_epochs=2",
]


def compose_config(name: str, run_dir: Path, *overrides: str) -> DictConfig:
    """Compose the configuration of an entry point, without its `hydra` node.

    Hydra stays initialised, as while an entry point runs; the fixture `composed` clears it afterwards.
    """
    GlobalHydra.instance().clear()
    initialize_config_dir(str(CONF), version_base="1.3")
    *given, last = with_trials(name, ["--multirun", *overrides], CONF)[1:] or [""]
    last = last.partition(",")[0] if last.startswith("trial=") else last  # the first job of a study
    given += [f"hydra.run.dir={run_dir}", f"hydra.runtime.output_dir={run_dir}", *filter(None, [last])]
    config = compose(name, overrides=given, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config
