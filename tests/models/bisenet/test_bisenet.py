"""BiSeNet: size and cost against figures measured on the official code, shapes and heads."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from src.models.bisenet.net import BiSeNet


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("classes", "parameters", "without_heads", "size", "expected"),
    [
        (12, 13_423_012, 13_273_740, (720, 960), 39.12),
        (12, 13_423_012, 13_273_740, (360, 480), 9.93),
        (19, 13_425_721, 13_275_539, (1024, 2048), 118.34),
        (19, 13_425_721, 13_275_539, (512, 1024), 29.59),
    ],
)
def test_size_and_cost_of_the_official_network(classes, parameters, without_heads, size, expected):
    with torch.device("meta"):
        net = BiSeNet(classes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, 3, *size, device="meta"))
    assert count(net) == parameters
    assert count(net) - count(net.aux16) - count(net.aux32) == without_heads
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("size", "cells"), [((64, 96), (8, 12)), ((90, 120), (12, 16)), ((45, 61), (6, 8))])
def test_any_size(size, cells):
    torch.manual_seed(0)
    net = BiSeNet(5).eval()
    with torch.no_grad():
        x = torch.randn(1, 3, *size)
        assert net.features(x).shape == (1, 256, *cells)
        assert net(x).shape == (1, 5, *size)


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
