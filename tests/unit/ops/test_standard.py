"""Operators that every runtime knows give what this project's own and torch's give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from src.models.arseg.fusion import CReFF
from src.ops import standard
from src.ops.local_attention import local_attention
from src.ops.resize import downscale
from src.ops.standard import standard_operators
from src.ops.warp import motion_at, warp


@pytest.mark.parametrize(
    ("window", "zero_padding", "masked", "position", "size"),
    [
        (7, False, True, True, (21, 33)),
        (7, True, False, False, (16, 24)),
        (3, False, False, True, (9, 10)),
        (11, False, True, False, (9, 30)),
        (7, True, True, False, (8, 8)),
    ],
)
@torch.no_grad()
def test_attention_in_tiles(window, zero_padding, masked, position, size):
    query, key, value = torch.randn(3, 2, 6, *size)
    valid = torch.rand(2, *size) < 0.3 if masked else None
    if valid is not None:
        valid[:, :, :9] = False  # windows without any known position
    term = torch.randn(window**2) if position else None
    given = {"window": window, "zero_padding": zero_padding, "scale": 0.4}
    expected = local_attention(query, key, value, valid, term, **given)
    with standard_operators():
        found = local_attention(query, key, value, valid, term, **given)
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (63, 96), (45, 77)])
@pytest.mark.parametrize("scale", [0.5, 0.25, 1 / 3, 0.75])
def test_shrinking_and_averages(size, scale):
    image = torch.randn(2, 3, *size)
    expected = downscale(image, scale)
    with standard_operators():
        torch.testing.assert_close(downscale(image, scale), expected, atol=2e-6, rtol=1e-5)
    cells = expected.shape[-2:]
    torch.testing.assert_close(
        standard.average(image, cells), F.adaptive_avg_pool2d(image, cells), atol=1e-6, rtol=1e-5
    )


def test_warp():
    features, motion = torch.randn(2, 5, 12, 20), 6 * torch.randn(2, 2, 48, 80)
    motion, valid = motion_at((12, 20), motion, torch.rand(2, 48, 80) < 0.7)
    expected, known = warp(features, motion, valid)
    with standard_operators():
        found, found_known = warp(features, motion, valid)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(found_known, known)


@pytest.mark.parametrize("mix", ["residual", "gate"])
@torch.inference_mode()
def test_fusion_without_this_projects_operators(mix):
    fusion = CReFF(6, mix=mix, init="identity").eval()
    given = (
        torch.randn(1, 6, 9, 13),
        torch.randn(1, 6, 18, 26),
        9 * torch.randn(1, 2, 72, 104),
        torch.rand(1, 72, 104) < 0.8,
    )
    expected = fusion(*given)
    with standard_operators():
        torch.testing.assert_close(fusion(*given), expected, atol=1e-4, rtol=1e-4)


def test_the_switch_is_set_back_after_an_error():
    with pytest.raises(ZeroDivisionError), standard_operators():
        _ = 1 / 0
    assert not standard.only
