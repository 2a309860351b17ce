"""Warping and CReFF: geometry, validity, starting points, cost."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from src.models.arseg import fusion as fusion_module
from src.models.arseg.fusion import CReFF
from src.ops.warp import motion_at, warp, warp_legacy
from tests.support.rdrnet_variants import macs


def features(channels=6, height=12, width=17, batch=2, seed=0):
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))


def shift(height, width, x, y, batch=2):
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).expand(batch, 2, height, width).contiguous()


def test_zero_motion_is_the_identity():
    f = features()
    moved, valid = warp(f, shift(12, 17, 0, 0), torch.ones(2, 12, 17, dtype=torch.bool))
    assert torch.equal(moved, f)
    assert valid.all()


def test_whole_pixel_motion_copies_from_x_plus_motion():
    f = features()
    moved, valid = warp(f, shift(12, 17, 3, -2), torch.ones(2, 12, 17, dtype=torch.bool))
    torch.testing.assert_close(moved[..., 2:, :-3], f[..., :-2, 3:], atol=1e-5, rtol=0)
    assert valid[:, 2:, :-3].all()
    assert not valid[:, :2].any()
    assert not valid[:, :, -3:].any()


def test_sub_pixel_motion_equals_grid_sample():
    f = features(height=9, width=14)
    motion = 4 * torch.randn(2, 2, 9, 14, generator=torch.Generator().manual_seed(5))
    moved, valid = warp(f, motion, torch.ones(2, 9, 14, dtype=torch.bool))
    x, y = motion[:, 0] + torch.arange(14), motion[:, 1] + torch.arange(9)[:, None]
    grid = torch.stack((2 * x / 13 - 1, 2 * y / 8 - 1), -1)
    expected = F.grid_sample(f, grid, padding_mode="border", align_corners=True)
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)
    assert torch.equal(valid, ((grid[..., 0] * 13 / 14).abs() <= 1) & ((grid[..., 1] * 8 / 9).abs() <= 1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_motion_that_is_no_number_warps_nothing(value):
    f, motion = features(), shift(12, 17, 0, 0)
    motion[:, 0, 3, 4], motion[:, 1, 7, 2] = value, value
    moved, valid = warp(f, motion, torch.ones(2, 12, 17, dtype=torch.bool))
    assert moved.isfinite().all()
    assert not valid[:, 3, 4].any()
    assert not valid[:, 7, 2].any()
    assert int(valid.sum()) == 2 * (12 * 17 - 2)
    assert warp_legacy(f, motion)[..., :2, :].isfinite().all()


def test_motion_is_scaled_to_features_and_averages_valid_pixels_only():
    motion = shift(24, 32, 8, -4, batch=1)
    motion[..., 0:2, 0:2] = 1000.0
    valid = torch.ones(1, 24, 32, dtype=torch.bool)
    valid[:, 0:2, 0:2] = False
    valid[:, 4:8, 4:7] = False
    small, small_valid = motion_at((6, 8), motion, valid)
    torch.testing.assert_close(small[:, :, 0], shift(6, 8, 2, -1, batch=1)[:, :, 0])
    assert small_valid[0, 0, 0]  # 12 of 16 pixels
    assert not small_valid[0, 1, 1]  # 4 of 16
    assert small_valid.sum() == 6 * 8 - 1


@pytest.mark.parametrize("mix", ["residual", "gate"])
def test_without_valid_motion_the_low_features_stay(mix):
    low, key = features(height=6, width=8), features(seed=1)
    fusion = CReFF(6, mix=mix, init="identity")
    invalid = torch.zeros(2, 48, 68, dtype=torch.bool)
    fused = fusion(low, key, shift(48, 68, 0, 0), invalid)
    expected = F.interpolate(low, (12, 17), mode="bilinear")
    torch.testing.assert_close(fused, expected)


def test_identity_gate_starts_close_to_the_warped_keyframe():
    low, key = features(height=6, width=8), features(seed=1)
    up = F.interpolate(low, (12, 17), mode="bilinear")
    fused = CReFF(6, mix="gate", init="identity")(low, key, shift(12, 17, 0, 0))
    trust = ((fused - up) * (key - up)).sum() / ((key - up) ** 2).sum()
    assert 0.6 < trust < 0.9


def test_residual_adds_the_attended_value():
    """With one key per window in reach of the softmax, attention returns that value."""
    low, key = features(height=12, width=17), features(seed=1)
    fusion = CReFF(6, init="identity")
    with torch.no_grad():
        fusion.position.mul_(100)
    fused = fusion(low, key, shift(12, 17, 0, 0))
    torch.testing.assert_close(fused, low + key, atol=1e-4, rtol=0)


def test_legacy_warp_has_the_official_half_pixel_shift():
    key = torch.zeros(1, 1, 9, 40)
    key[..., 20] = 1.0
    fusion = CReFF(1, legacy=True)
    moved, valid = fusion.move(key, shift(9, 40, 5, 0, batch=1), None)
    assert valid is None
    position = 15 * 40 / 39 - 0.5 + 5 * 40 / 39
    assert moved[0, 0, 4, 15] == pytest.approx(1 - abs(position - 20), abs=1e-4)
    constant, _ = fusion.move(torch.ones(1, 1, 9, 40), shift(9, 40, 0, 0, batch=1), None)
    assert constant[0, 0, 0, 0] == pytest.approx(0.25, abs=1e-4)
    assert constant[0, 0, 0, 20] == pytest.approx(0.5, abs=1e-4)


def test_official_warp_scales_both_components_by_the_ratio_of_heights():
    """13/100 and 25/196 differ: features at stride 8 of a picture of 100x196."""
    f = features(height=13, width=25)
    in_features = shift(13, 25, 40 * 13 / 100, -24 * 13 / 100)
    expected = warp_legacy(f, in_features)
    torch.testing.assert_close(warp_legacy(f, shift(100, 196, 40, -24)), expected)


def test_official_initialisation():
    fusion = CReFF(6)
    assert {k: tuple(v.shape) for k, v in fusion.state_dict().items()} == {
        f"{name}.{kind}": shape
        for name in ("query", "key", "value")
        for kind, shape in (("weight", (6, 1, 3, 3)), ("bias", (6,)))
    }
    assert not fusion.key.bias.any()


def test_every_parameter_of_the_gated_form_learns():
    low, key = features(height=6, width=8), features(seed=1)
    fusion = CReFF(6, mix="gate", init="identity")
    torch.nn.init.normal_(fusion.gate.score.weight, std=0.1)
    fusion(low, key, shift(12, 17, 0.5, 0.3)).square().mean().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        # <Q, K> changes by the same amount at all taps when the key's bias does, so softmax ignores it
        assert parameter.grad.abs().max() > 1e-9 or name == "key.bias", name


def test_cost_of_attention_and_gate():
    with torch.device("meta"):
        shapes = torch.empty(1, 64, 45, 60), torch.empty(1, 64, 90, 120), torch.empty(1, 2, 360, 480)
        plain, gated = (macs(CReFF(64, mix=mix), *shapes) for mix in ("residual", "gate"))
    assert plain == 64 * 90 * 120 * (2 * 49 + 3 * 9)
    assert gated - plain < 25e6


TILED = [
    # channels, low and high size, form
    (64, (9, 13), (21, 30), {"mix": "gate", "init": "identity"}),
    (70, (11, 15), (21, 30), {"mix": "gate"}),
    (130, (10, 20), (40, 80), {}),
    (3, (2, 1), (3, 2), {"init": "identity"}),
]


def drawn(channels, small, size, form):
    """A fusion with random parameters, and what it fuses: half of the motion leads nowhere."""
    torch.manual_seed(0)
    fusion = CReFF(channels, **form)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    valid = torch.rand(2, 3 * size[0], 3 * size[1]) < 0.7
    valid[..., size[1] :] = False
    motion = 4 * torch.randn(2, 2, 3 * size[0], 3 * size[1])
    return fusion, (torch.randn(2, channels, *small), torch.randn(2, channels, *size), motion, valid)


@pytest.mark.parametrize(("channels", "small", "size", "form"), TILED)
def test_inference_in_tiles_equals_the_separate_operators(channels, small, size, form, monkeypatch):
    fusion, arguments = drawn(channels, small, size, form)
    expected = fusion(*arguments).detach()
    monkeypatch.setattr(fusion_module, "local_attention", None)  # only the tiles are left
    with torch.no_grad():
        torch.testing.assert_close(fusion(*arguments), expected, atol=1e-5, rtol=1e-5)


def in_bfloat16(arguments):
    low, key_features, *motion = arguments
    return low.bfloat16(), key_features.bfloat16(), *motion


@torch.no_grad()
@pytest.mark.parametrize("unit", [True, False], ids=["tile unit", "vectors"])
@pytest.mark.parametrize(("channels", "small", "size", "form"), TILED)
def test_bfloat16_features_are_fused_to_the_precision_of_bfloat16(channels, small, size, form, unit, monkeypatch):
    if not unit:
        monkeypatch.setattr("src.ops.cpu.creff.has_tiles", lambda: False)
    fusion, arguments = drawn(channels, small, size, form)
    arguments = in_bfloat16(arguments)
    found = fusion(*arguments)
    expected = fusion(*(x.float() if x.dtype == torch.bfloat16 else x for x in arguments))
    assert found.dtype == torch.bfloat16
    error = (found.float() - expected).abs()
    assert error.max() < 1e-2 * expected.abs().max()
    assert error.mean() < torch.finfo(torch.bfloat16).eps * expected.abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("form", [{}, {"mix": "gate"}])
@pytest.mark.parametrize("narrow", [False, True])
def test_thread_counts_agree_exactly_in_tiles(form, narrow):
    fusion, arguments = drawn(64, (17, 35), (33, 70), form)
    arguments = in_bfloat16(arguments) if narrow else arguments
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(fusion(*arguments))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@torch.no_grad()
def test_a_counter_sees_the_separate_operators():
    fusion, arguments = drawn(64, (9, 13), (21, 30), {})
    with FlopCounterMode(display=False) as counter:
        fusion(*arguments)
    assert counter.get_total_flops() == 2 * 2 * 64 * 21 * 30 * (2 * 49 + 3 * 9)


def test_ablations_leave_out_the_keyframe_or_the_motion():
    low, key, motion = features(height=6, width=9), features(height=12, width=18, seed=1), shift(12, 18, 4, 2)
    upsampled = CReFF(6, mix="none")(low, key, motion)
    torch.testing.assert_close(upsampled, F.interpolate(low, (12, 18), mode="bilinear"))
    fusion = CReFF(6)
    still = fusion(low, key, torch.zeros_like(motion))
    fusion.warp = False
    torch.testing.assert_close(fusion(low, key, motion), still)
    fusion.warp = True
    assert not torch.allclose(fusion(low, key, motion), still)
