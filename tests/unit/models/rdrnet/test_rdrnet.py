from __future__ import annotations

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.models.rdrnet.net import RDRNet
from tests.support.rdrnet_variants import VARIANTS, deployed, parameters, relative, tiny, unreached
from tests.unit.checkpoints.official.parity import recipe


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_names_and_shapes_are_the_official_ones(name):
    with torch.device("meta"):
        net = RDRNet(19, **VARIANTS[name])
    official = recipe.state_dict(f"rdrnet_{name}")
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in official.items()}


def test_logits_of_official_code_in_all_forms():
    net = RDRNet(19, **VARIANTS["s_simple"]).eval()
    net.load_state_dict(recipe.state_dict("rdrnet_s_simple"))
    expected = torch.from_numpy(np.load(recipe.HERE / "rdrnet_s_simple.npz")["logits"])
    for form in (net, deployed(net), deployed(net, fold=True)):
        with torch.no_grad():
            logits = form.classify(form.features(recipe.image(7, 128, 256)))[:, :, ::2, ::2]
        assert relative(logits, expected) < 1e-5


@pytest.mark.parametrize("pooling", ["none", "ppm", "dappm", "pappm", "rppm"])
@pytest.mark.parametrize(("fusion_1", "fusion_2"), [(True, True), (True, False), (False, True), (False, False)])
def test_every_ablation_trains_all_its_parameters_and_deploys(pooling, fusion_1, fusion_2):
    net = tiny(pooling=pooling, fusion_1=fusion_1, fusion_2=fusion_2)
    assert unreached(net) == []
    assert parameters(deployed(net)) < parameters(net)


def test_switched_off_fusions_save_their_published_parameters():
    sizes = {}
    for fusions in [(True, True), (False, True), (True, False)]:
        with torch.device("meta"):
            net = RDRNet(19, **VARIANTS["s_simple"], fusion_1=fusions[0], fusion_2=fusions[1])
        sizes[fusions] = parameters(net)
    assert sizes[True, True] - sizes[False, True] == 82_304
    assert sizes[True, True] - sizes[True, False] == 385_920


def test_deployed_rppm_is_pappm_with_biases():
    rppm, pappm = (deployed(tiny(pooling=name)) for name in ("rppm", "pappm"))
    assert parameters(rppm.backbone.spp) - parameters(pappm.backbone.spp) == 4 * 8


def test_unknown_pooling_lists_the_known_ones():
    with pytest.raises(UserError, match=r"pooling=aspp.*rppm"):
        tiny(pooling="aspp")


def test_without_fusion_semantic_branch_reaches_the_output_only_through_the_merge():
    net = tiny(fusion_1=False, fusion_2=False).eval()
    image = torch.randn(1, 3, 64, 64)
    _, taps = net.encode(image)
    grads = torch.autograd.grad(
        taps["detail"].sum(), list(net.backbone.semantic_branch_layers.parameters()), allow_unused=True
    )
    assert all(g is None for g in grads)
