"""MACs and parameters of the inference graph."""

from __future__ import annotations

import torch
from torch import nn

from src.metrics.cost import Cost, count_macs, count_parameters, frame_cost, warp_cost
from src.models.arseg.fusion import CReFF
from src.models.arseg.net import ARSeg
from src.models.bisenet.net import BiSeNet
from tests.support.tiny_arseg import Tiny, tiny_arseg


def test_convolutions_count_one_per_multiply_add():
    grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    assert count_macs(grouped, torch.empty(2, 8, 5, 7)) == 2 * 8 * 9 * 5 * 7
    assert count_macs(nn.Linear(10, 3), torch.empty(4, 10)) == 120


def test_nothing_is_computed_or_changed():
    net = tiny_arseg().train()
    modes = [m.training for m in net.modules()]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    frame_cost(net, (4096, 8192), gop=12)  # would take 10 GB if it ran
    assert [m.training for m in net.modules()] == modes
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_tiny_network_by_hand():
    body = 6 * 3 * 25
    high = (body + 6 * 5) * 9 * 13  # stride 4 of 36 x 52; no auxiliary head
    low = body * 5 * 7 + (3 * 9 * 6 + 2 * 49 * 6 + 6 * 5) * 9 * 13
    cost = frame_cost(tiny_arseg(), (36, 52), gop=12)
    assert round(cost.key * 1e9) == high
    assert round(cost.nonkey * 1e9) == low
    assert cost.amortised == (cost.key + 11 * cost.nonkey) / 12
    assert frame_cost(Tiny(), (36, 52)) == Cost(high / 1e9, high / 1e9, 36, 52, 1)


def test_constant_scale_and_warp_only():
    half = frame_cost(Tiny(), (36, 52), scale=0.5)
    assert round(half.key * 1e9) == (6 * 3 * 25 + 6 * 5) * 5 * 7
    warped = warp_cost(tiny_arseg(), (36, 52), 12)
    assert round(warped.nonkey * 1e9) == 6 * 5 * 9 * 13


def test_parameters_of_inference_leave_out_the_auxiliary_head():
    train, inference = count_parameters(tiny_arseg())
    aux = sum(p.numel() for p in Tiny().aux.parameters())
    assert train - inference == 2 * aux


def test_bisenet_on_camvid_costs_what_the_official_code_does():
    """39.12 GMACs at full scale, 10.30 with CReFF at half scale, 12.71 over a GOP of 12: 0.325 of constant."""
    cost = frame_cost(ARSeg(BiSeNet(12), BiSeNet(12), CReFF(256), 0.5), (720, 960), gop=12)
    assert round(cost.key, 2) == 39.12
    assert round(cost.nonkey, 2) == 10.30
    assert round(cost.amortised / cost.key, 3) == 0.325
