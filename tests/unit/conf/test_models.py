"""Every network and every way to train one composes, builds and fits its loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from torch import nn

from src.cli.config import check_keys, plain
from src.commands.benchmark import build
from src.commands.train import complete
from src.errors import UserError
from src.instantiate import instantiate
from src.losses.segmentation import SegmentationLoss
from src.models import registry
from src.models.base import Segmenter
from src.training.preflight import check_heads
from tests.support.configs import CONF

pytestmark = pytest.mark.slow

NETWORKS = sorted(path.stem for path in (CONF / "network").glob("*.yaml"))
TDNETS = [name for name in NETWORKS if name.startswith("td")]
CLASSIFIERS = [name for name in NETWORKS if name.startswith("xception")]
SINGLE = [name for name in NETWORKS if name not in (*TDNETS, *CLASSIFIERS)]
KIND = {"image": SINGLE, "arseg": SINGLE, "tdnet": TDNETS, "classifier": CLASSIFIERS}
VARIANTS = {
    "rdrnet_m",
    "rdrnet_l",
    "rdrnet_s",
    "ddrnet23",
    "pidnet_m",
    "pidnet_l",
    "stdc2",
    "icnet50",
    "dfanet_b",
    "pspnet50",
    "pspnet101",
    "pspnet18_cityscapes",
}  # of others
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def network_of(config: Any, node: Any = None) -> tuple[nn.Module, SegmentationLoss]:
    """The network of a configuration on the meta device, and its loss."""
    spec = OmegaConf.to_container(config.network if node is None else node, resolve=True)
    with torch.device("meta"):
        net = registry.build(spec["name"], registry.without_initial_weights(spec["arguments"]))
        return net.train(), instantiate(spec["loss"])


@pytest.mark.parametrize(("model", "name"), [(m, n) for m in ("image", "arseg", "tdnet") for n in KIND[m]])
def test_network_builds_without_weights_or_memory(model: str, name: str, composed: Any, tmp_path: Path) -> None:
    config = composed("benchmark", tmp_path, f"model={model}", f"network={name}", "num_classes=7")
    net = build(config, torch.device("meta"))
    assert net.num_classes == 7
    assert all(p.is_meta for p in net.parameters())


@pytest.mark.parametrize("name", SINGLE)
def test_loss_knows_the_outputs_of_the_training_heads(name: str, composed: Any, tmp_path: Path) -> None:
    """The auxiliary outputs that the loss weighs are those that the network gives."""
    net, loss = network_of(composed("benchmark", tmp_path, f"network={name}"))
    assert isinstance(net, Segmenter)
    outputs = net.auxiliary(net.encode(torch.empty(2, 3, 64, 64, device="meta"))[1])
    assert set(outputs) - {"boundary"} == set(loss.auxiliary)


@pytest.mark.parametrize("name", TDNETS)
def test_loss_knows_the_outputs_of_tdnet_s_paths(name: str, composed: Any, tmp_path: Path) -> None:
    net, loss = network_of(composed("benchmark", tmp_path, "model=tdnet", f"network={name}"))
    path: Any = net.get_submodule("paths.0")
    outputs = path.auxiliary(path.encode(torch.empty(2, 3, 64, 64, device="meta"))[1])
    assert set(outputs) == set(loss.auxiliary)


@pytest.mark.parametrize(("model", "name"), [(m, n) for m in KIND for n in KIND[m]])
def test_every_network_can_be_trained(model: str, name: str, composed: Any, tmp_path: Path) -> None:
    config = composed("train", tmp_path, f"model={model}", f"network={name}", "data=street")
    check_keys(config)
    complete(config)
    assert plain(config)["model"]["phases"]
    assert config.num_classes == 11
    assert (config.model.phases.get("image", "absent") is None) == (name == "td2_fa18")


@pytest.mark.parametrize("model", ["image", "arseg"])
def test_classes_are_those_of_the_paper_in_the_benchmark(model: str, composed: Any, tmp_path: Path) -> None:
    assert composed("benchmark", tmp_path, f"model={model}", "network=pspnet18_camvid").num_classes == 12
    assert composed("benchmark", tmp_path, f"model={model}", "network=bisenet18").num_classes == 19


def test_dfanet_a_prime_sees_half_the_size(composed: Any, tmp_path: Path) -> None:
    assert build(composed("benchmark", tmp_path, "network=dfanet_a_prime"), torch.device("meta")).scale == 0.5


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_takes_any_network_of_its_kind_or_is_refused(
    experiment: str, composed: Any, tmp_path: Path
) -> None:
    """Pair by pair: the network builds and gives what the loss reads, or one line says what does not fit."""
    answers: dict[str, str | None] = {}
    own = composed("train", tmp_path, f"experiment={experiment}").network.arguments
    usual = OmegaConf.load(CONF / "network" / f"{HydraConfig.get().runtime.choices['network']}.yaml").get("arguments")
    has_arguments = OmegaConf.to_container(own) != OmegaConf.to_container(usual or OmegaConf.create())
    for name in [name for name in KIND[_model_of(experiment)] if name not in VARIANTS]:
        config = composed("train", tmp_path, f"experiment={experiment}", f"network={name}")
        config.num_classes = 11
        answers[name] = _answer(config, with_keys=has_arguments or not answers)  # which others may lack
    assert None in answers.values()
    for answer in filter(None, answers.values()):
        assert "\n" not in answer
        assert "network.arguments" in answer or "loss@network.loss" in answer


def _answer(config: Any, with_keys: bool) -> str | None:
    try:
        if with_keys:
            check_keys(config)
        resolved = OmegaConf.to_container(config.model, resolve=True)
        network = {key: resolved["net"][key] for key in ("name", "arguments")}
        with torch.device("meta"):
            registry.build(network["name"], registry.without_initial_weights(network["arguments"]))
        for spec in filter(None, resolved["phases"].values()):
            check_heads(network, spec["module"].get("loss"))
    except UserError as error:
        return str(error)
    return None


def _model_of(experiment: str) -> str:
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    found = [line.split(":")[1].strip() for line in text.splitlines() if "override /model:" in line]
    return found[0] if found else "arseg"  # of the experiment that it begins with
