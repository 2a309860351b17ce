"""BiSeNet: shapes and heads."""

from __future__ import annotations

import torch

from src.models.bisenet.net import BiSeNet


def test_paths_of_unequal_size_meet():
    with torch.device("meta"):
        net = BiSeNet(5).eval()
    x = torch.empty(1, 3, 360, 480, device="meta")
    assert net.spatial(x).shape[-2:] == (45, 60)
    assert net.features(x).shape[-2:] == (46, 60)


def test_auxiliary_heads_train_and_are_no_part_of_the_result():
    torch.manual_seed(0)
    net, x = BiSeNet(5), torch.randn(2, 3, 64, 96)
    features, taps = net.encode(x)
    outputs = net.auxiliary(taps)
    assert {k: tuple(v.shape[-2:]) for k, v in outputs.items()} == {"aux16": (8, 12), "aux32": (4, 6)}
    (net.classify(features).mean() + sum(v.mean() for v in outputs.values())).backward()
    assert all(p.grad is not None for p in net.parameters())
    net.eval()
    with torch.no_grad():
        before = net(x)
        for parameter in (*net.aux16.parameters(), *net.aux32.parameters()):
            parameter.fill_(float("nan"))
        assert torch.equal(net(x), before)


def test_upsampling_is_the_official_factor_eight():
    """The official network upsamples by 8, ours to the input's size: the same wherever 8 divides it."""
    torch.manual_seed(0)
    net, x = BiSeNet(5).eval(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        coarse = net.classify(net.features(x))
        official = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear", align_corners=False)
        torch.testing.assert_close(net(x), official)
