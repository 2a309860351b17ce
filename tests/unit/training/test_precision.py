"""Precision by hardware, and bf16 autocast whose depthwise gradients are computed in fp32."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import nn

from src.errors import UserError
from src.ops.mixed_precision import DepthwiseBackwardInFloat
from src.training.precision import CPUMixedPrecision, trainer_precision


def depthwise_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, bias=True), nn.Conv2d(8, 2, 1)
    )


def gradients(net: nn.Module, *contexts) -> list[torch.Tensor]:
    x = torch.randn(2, 3, 17, 18, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        loss = net(x).float().square().mean()
    net.zero_grad()
    loss.backward()
    return [x.grad, *(p.grad.clone() for p in net.parameters())]


def test_gradients_agree_with_plain_autocast_and_fp32():
    exact = gradients(depthwise_net())
    plain = gradients(depthwise_net(), torch.autocast("cpu", torch.bfloat16))
    ours = gradients(depthwise_net(), torch.autocast("cpu", torch.bfloat16), DepthwiseBackwardInFloat())
    for reference, expected, got in zip(exact, plain, ours, strict=True):
        assert got.dtype == expected.dtype
        rough, ours_error = ((g - reference).norm() / reference.norm() for g in (expected, got))
        assert ours_error < 0.02
        assert ours_error < 1.5 * rough


def test_outside_autocast_nothing_changes():
    for expected, got in zip(
        gradients(depthwise_net()), gradients(depthwise_net(), DepthwiseBackwardInFloat()), strict=True
    ):
        assert torch.equal(expected, got)


@pytest.mark.parametrize(("feature", "expected"), [("avx512_bf16", "bf16-mixed"), (None, "32-true")])
def test_auto_takes_bf16_only_on_cpus_that_compute_in_it(monkeypatch, feature, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True} if feature else {"avx2": True})
    found = trainer_precision("auto", "cpu")
    if expected == "bf16-mixed":
        assert isinstance(found["plugins"][0], CPUMixedPrecision)
    else:
        assert found == {"precision": expected}


def test_given_precision_is_kept():
    assert trainer_precision("32-true", "cpu") == {"precision": "32-true"}
    assert trainer_precision("bf16-mixed", "cuda") == {"precision": "bf16-mixed"}


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "fp8"])
def test_precisions_that_round_motion_or_weights_are_refused(precision):
    with pytest.raises(UserError, match=rf"trainer\.precision={precision} .*bf16-mixed, 16-mixed, 32-true"):
        trainer_precision(precision, "cuda")
