"""MACs and parameters of the inference graph."""

from __future__ import annotations

import pytest
import torch

from src.metrics.cost import inference_cost
from src.models.arseg.fusion import CReFF
from src.models.arseg.net import ARSeg, WarpOnly
from src.models.bisenet.net import BiSeNet
from src.models.video import SingleFrame
from tests.support.tiny_arseg import Tiny, tiny_arseg
from tests.support.tiny_runner import Averager


def test_nothing_is_computed_or_changed():
    net = tiny_arseg().train()
    modes = [m.training for m in net.modules()]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    inference_cost(net, (4096, 8192), gop=12)  # would take 10 GB if it ran
    assert [m.training for m in net.modules()] == modes
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_tiny_network_by_hand():
    body = 6 * 3 * 25
    high = (body + 6 * 5) * 9 * 13  # stride 4 of 36 x 52; no auxiliary head
    low = body * 5 * 7 + (3 * 9 * 6 + 2 * 49 * 6 + 6 * 5) * 9 * 13
    cost = inference_cost(tiny_arseg(), (36, 52), gop=12)
    assert round(cost.gmacs_key * 1e9) == high
    assert round(cost.gmacs_nonkey * 1e9) == low
    assert round(cost.gmacs_amortised * 12e9) == high + 11 * low
    assert cost.gop == 12
    single = inference_cost(SingleFrame(Tiny()), (36, 52), gop=12)
    assert (single.gmacs_key, single.gmacs_nonkey, single.gmacs_amortised) == (high / 1e9, None, high / 1e9)
    assert single.gop == 1


def test_constant_scale_and_warp_only():
    half = inference_cost(SingleFrame(Tiny(), 0.5), (36, 52), 12)
    assert round(half.gmacs_key * 1e9) == (6 * 3 * 25 + 6 * 5) * 5 * 7
    warped = inference_cost(WarpOnly(tiny_arseg()), (36, 52), 12)
    assert round(warped.gmacs_nonkey * 1e9) == 6 * 5 * 9 * 13


def test_parameters_of_inference_leave_out_the_auxiliary_head():
    net = tiny_arseg()
    aux = sum(p.numel() for p in Tiny().aux.parameters())
    trained = sum(p.numel() for p in net.parameters())
    assert trained - inference_cost(net, (64, 64), 2).params_inference == 2 * aux


def test_a_method_of_its_own_is_counted_as_it_declares_its_frames():
    cost = inference_cost(Averager(), (32, 32), 4)
    assert (cost.gmacs_nonkey, cost.gmacs_amortised, cost.gop, cost.params_inference) == (0, 0, None, 4)


def test_bisenet_on_camvid_costs_what_the_official_code_does():
    """39.12 GMACs at full scale, 10.30 with CReFF at half scale, 12.71 over a GOP of 12: 0.325 of constant."""
    cost = inference_cost(ARSeg(BiSeNet(12), BiSeNet(12), CReFF(256), 0.5), (720, 960), gop=12)
    assert round(cost.gmacs_key, 2) == 39.12
    assert round(cost.gmacs_nonkey, 2) == 10.30
    assert round(cost.gmacs_amortised / cost.gmacs_key, 3) == 0.325
    assert cost.state_mb == pytest.approx(256 * 90 * 120 * 4 / 1e6), "the keyframe's features"
