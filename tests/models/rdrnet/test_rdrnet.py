from __future__ import annotations

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.models.rdrnet.deploy import deploy
from src.models.rdrnet.net import RDRNet
from tests.interop.parity import recipe
from tests.models.rdrnet.variants import VARIANTS, gmacs, parameters, relative, tiny, unreached

# Computed with the official code: parameters train / deployed, GMACs at 1024 x 2048 train / deployed.
SIZES = {
    "s_simple": (8_833_126, 7_163_718, 49.384, 40.912),
    "s": (8_946_406, 7_276_998, 51.840, 43.368),
    "m": (30_867_366, 26_020_710, 194.466, 161.583),
    "l": (43_345_830, 36_953_574, 283.800, 238.032),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_names_and_shapes_are_the_official_ones(name):
    with torch.device("meta"):
        net = RDRNet(19, **VARIANTS[name])
    official = recipe.state_dict(f"rdrnet_{name}")
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in official.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_size_in_training_form(name):
    with torch.device("meta"):
        net = RDRNet(19, **VARIANTS[name])
    assert parameters(net) == SIZES[name][0]
    assert gmacs(net) == pytest.approx(SIZES[name][2], rel=1e-4)


@pytest.mark.parametrize("name", ["s_simple", "s"])
def test_size_in_deployed_form(name):
    net = deploy(RDRNet(19, **VARIANTS[name]))
    assert parameters(net) == SIZES[name][1]
    assert gmacs(net) == pytest.approx(SIZES[name][3], rel=1e-4)


def test_logits_of_official_code_in_all_forms():
    net = RDRNet(19, **VARIANTS["s_simple"]).eval()
    net.load_state_dict(recipe.state_dict("rdrnet_s_simple"))
    expected = torch.from_numpy(np.load(recipe.HERE / "rdrnet_s_simple.npz")["logits"])
    for form in (net, deploy(net), deploy(net, fold_batchnorm=True)):
        with torch.no_grad():
            logits = form.classify(form.features(recipe.image(7, 128, 256)))[:, :, ::2, ::2]
        assert relative(logits, expected) < 1e-5


@pytest.mark.parametrize("size", [(32, 32), (65, 97), (127, 50)])
def test_any_picture_size(size):
    net = tiny().eval()
    with torch.no_grad():
        image = torch.randn(1, 3, *size)
        assert net.features(image).shape == (1, net.feature_channels, -(-size[0] // 8), -(-size[1] // 8))
        assert net(image).shape == (1, 5, *size)


@pytest.mark.parametrize("pooling", ["none", "ppm", "dappm", "pappm", "rppm"])
@pytest.mark.parametrize(("fusion_1", "fusion_2"), [(True, True), (True, False), (False, True), (False, False)])
def test_every_ablation_trains_all_its_parameters_and_deploys(pooling, fusion_1, fusion_2):
    net = tiny(pooling=pooling, fusion_1=fusion_1, fusion_2=fusion_2)
    assert unreached(net) == []
    assert parameters(deploy(net)) < parameters(net)


def test_switched_off_fusions_save_their_published_parameters():
    sizes = {}
    for fusions in [(True, True), (False, True), (True, False)]:
        with torch.device("meta"):
            net = RDRNet(19, **VARIANTS["s_simple"], fusion_1=fusions[0], fusion_2=fusions[1])
        sizes[fusions] = parameters(net)
    assert sizes[True, True] - sizes[False, True] == 82_304
    assert sizes[True, True] - sizes[True, False] == 385_920


def test_deployed_rppm_is_pappm_with_biases():
    rppm, pappm = (deploy(tiny(pooling=name)) for name in ("rppm", "pappm"))
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


def test_exported_program_gives_the_same_logits():
    net = deploy(tiny())
    image = torch.randn(1, 3, 72, 100)
    exported = torch.export.export(net, (image,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(image), net(image))
