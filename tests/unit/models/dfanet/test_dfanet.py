"""DFANet: cost against the published figures, any input size, and the way from an ImageNet classifier."""

from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.models import registry
from src.models.dfanet.backbone import Xception
from src.models.dfanet.net import DFANet, load_classifier
from tests.support.rdrnet_variants import gmacs, parameters


@pytest.fixture(scope="module")
def net() -> DFANet:
    torch.manual_seed(0)
    return DFANet(num_classes=11, variant="b")


@pytest.mark.parametrize(
    ("variant", "size", "published", "counted"),
    [
        ("a", (1024, 1024), 3.4, 1_656_123),
        ("a", (512, 1024), 1.7, 1_656_123),
        ("b", (1024, 1024), 2.1, 1_025_595),
    ],
)
def test_cost_is_within_four_percent_of_the_paper(variant, size, published, counted):
    net = DFANet(19, variant)
    assert parameters(net) == counted
    assert gmacs(net, *size) == pytest.approx(published, rel=0.04)


@pytest.mark.parametrize("size", [(64, 96), (45, 77), (33, 130)])
def test_logits_have_the_size_of_any_picture(net, size):
    net.eval()
    with torch.no_grad():
        assert net(torch.randn(2, 3, *size)).shape == (2, 11, *size)
        features = net.features(torch.randn(1, 3, *size))
    assert features.shape == (1, net.feature_channels, -(-size[0] // 4), -(-size[1] // 4))


def test_classifier_starts_all_three_backbones(net):
    classifier = Xception("b")
    assert classifier(torch.randn(2, 3, 64, 64)).shape == (2, 1000)
    mine = DFANet(num_classes=11, variant="b")
    before = mine.later[0].enc2[0].convs[0][2].weight.clone()
    load_classifier(mine, classifier.state_dict())
    for encoder in (mine.first.encoder, *mine.later):
        assert torch.equal(encoder.attention.fc.weight, classifier.encoder.attention.fc.weight)
        assert torch.equal(encoder.enc4[3].convs[2][2].weight, classifier.encoder.enc4[3].convs[2][2].weight)
    assert torch.equal(mine.later[0].enc2[0].convs[0][2].weight, before)


def test_the_ablation_without_attention_is_none_of_the_classifier():
    with pytest.raises(UserError, match="network 'xception' has no argument 'attention'"):
        registry.build("xception", {"variant": "a", "attention": False})


def test_wrong_input_is_named():
    for build in (lambda: DFANet(11, "c"), lambda: Xception("c")):
        with pytest.raises(UserError, match="variant=c is not one of a, b; choose one of these"):
            build()
    with pytest.raises(UserError, match="give those of the same Xception"):
        load_classifier(DFANet(11, "a"), Xception("b").state_dict())
