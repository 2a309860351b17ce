"""Every model configuration composes, builds its network and fits its loss."""

from __future__ import annotations

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import nn

from src.checkpoints.load import without_initial_weights
from src.cli.config import check_keys, plain
from src.instantiate import instantiate
from tests.support.configs import CONF

MODEL = CONF / "model"
ABSTRACT = {"image", "arseg", "tdnet"}  # what the others are variants of
CONFIGURED = sorted(path.stem for path in MODEL.glob("*.yaml") if path.stem not in ABSTRACT)
NAMES = [name for name in CONFIGURED if not name.endswith("_classifier")]  # networks that label pixels
WANTED = {
    "ddrnet23",
    "arseg_bisenet18",
    "ddrnet23_slim",
    "bisenet18",
    "tdnet_td4_psp18",
    "tdnet_td2_fa18",
    "arseg_pspnet18_camvid",
    "rdrnet_m",
    "pspnet50",
    "tdnet_td4_bise18",
    "tdnet_td2_psp50",
    "pidnet_s",
    "pspnet18_camvid",
    "arseg_rdrnet_s_simple",
    "rdrnet_s",
    "pspnet101",
    "dfanet_a",
    "dfanet_a_prime",
    "pspnet18",
    "rdrnet_s_simple",
    "arseg_pspnet18_cityscapes",
    "arseg_timm",
    "rdrnet_l",
    "dfanet_b",
    "pspnet18_cityscapes",
    "timm",
}


def test_all_networks_are_configured():
    assert set(NAMES) >= WANTED


@pytest.mark.parametrize("name", NAMES)
def test_network_builds_without_weights_or_memory(name, composed, tmp_path):
    config = composed("benchmark", tmp_path, f"model={name}", "num_classes=7")
    with torch.device("meta"):
        net = instantiate(without_initial_weights(config.model.net))
    assert isinstance(net, nn.Module)
    assert net.num_classes == 7
    assert all(p.is_meta for p in net.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("tdnet")])
def test_loss_knows_the_outputs_of_the_training_heads(name, composed, tmp_path):
    """The auxiliary outputs that the loss weighs are those that the network gives."""
    config = composed("benchmark", tmp_path, f"model={name}")
    with torch.device("meta"):
        net = instantiate(without_initial_weights(config.model.segmenter)).train()
        loss = instantiate(OmegaConf.to_container(config.model.loss, resolve=True))
        outputs = net.auxiliary(net.encode(torch.empty(2, 3, 64, 64))[1])
    assert isinstance(loss, get_object("src.losses.segmentation.SegmentationLoss"))
    assert set(outputs) - {"boundary"} == set(loss.auxiliary)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("tdnet")])
def test_loss_knows_the_outputs_of_tdnet_s_paths(name, composed, tmp_path):
    config = composed("benchmark", tmp_path, f"model={name}")
    with torch.device("meta"):
        path = instantiate(without_initial_weights(config.model.net)).paths[0]
        loss = instantiate(OmegaConf.to_container(config.model.loss, resolve=True))
        outputs = path.auxiliary(path.encode(torch.empty(2, 3, 64, 64))[1])
    assert set(outputs) == set(loss.auxiliary)


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_model_can_be_trained(name, composed, tmp_path):
    config = composed("train", tmp_path, f"model={name}", "data=street")
    check_keys(config)
    assert plain(config)["model"]["phases"]


@pytest.mark.parametrize("name", ["pspnet18_camvid", "arseg_pspnet18_camvid"])
def test_classes_follow_the_data_in_training_and_the_paper_in_the_benchmark(name, composed, tmp_path):
    assert composed("train", tmp_path, f"model={name}", "data=street").model.num_classes == 11
    assert composed("benchmark", tmp_path, f"model={name}").model.num_classes == 12
    assert composed("benchmark", tmp_path, "model=bisenet18").model.num_classes == 19
