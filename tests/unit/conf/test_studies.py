"""Every trial of every study composes and builds, and docs/tables.md lists every study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from src.cli.config import check_keys
from src.commands.benchmark import build
from src.models import registry
from src.models.video import as_video_segmenter
from src.reports.study import read_study
from src.training.preflight import check_heads
from tests.support.configs import CONF, ROOT, Compose

STUDIES = {path.stem: read_study(path) for path in sorted((CONF / "study").glob("*.yaml"))}
TRIALS = [(study.name, trial.name) for study in STUDIES.values() for trial in study.trials]


@pytest.mark.parametrize(("study", "trial"), TRIALS)
def test_every_trial_composes_and_builds(study: str, trial: str, composed: Compose, tmp_path: Path) -> None:
    command = STUDIES[study].command
    needed = ["checkpoint=NET.ckpt"] if command == "eval" else []
    config = composed(command, tmp_path, f"study={study}", f"trial={trial}", *needed)
    check_keys(config)
    assert (config.study, config.trial) == (study, trial)
    for override in next(t.overrides for t in STUDIES[study].trials if t.name == trial):
        key, value = override.split("=", 1)
        chosen = OmegaConf.select(config, key)
        assert OmegaConf.is_dict(chosen) or str(chosen).lower() == value, "a group's choice is checked by building it"
    results = next(t.published for t in STUDIES[study].trials if t.name == trial)
    if command == "benchmark":
        assert build(config, torch.device("meta")).num_classes
        assert list(results) == ["network"]
    if command == "train":
        config.num_classes = 11
        phases: Any = OmegaConf.to_container(config.model, resolve=True)
        for name in results:
            module = phases["phases"][name]["module"]
            network = registry.network_of_node(module["net"])
            with torch.device("meta"):
                built = registry.build(network["name"], registry.without_initial_weights(network["arguments"]))
                assert as_video_segmenter(built).num_classes == 11
            if network["name"] not in ("arseg", "td4_psp18"):
                check_heads(network, module["loss"])


def test_the_document_lists_every_study_by_its_command_and_title() -> None:
    rows = (ROOT / "docs" / "tables.md").read_text().splitlines()
    for study in STUDIES.values():
        row = f"| {study.title} | `python -m src.{study.command} --multirun study={study.name}"
        assert len([line for line in rows if line.startswith((f"{row} ", f"{row}`"))]) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_sweep_of_a_study_has_its_trials(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    name = next((part.removeprefix("study=") for part in sweep["command"] if part.startswith("study=")), None)
    if name is not None:
        assert list(sweep["parameters"]["trial"]["values"]) == [trial.name for trial in STUDIES[name].trials]
    assert path.stem not in ("lr_scale", "rdrnet_pooling") or name
