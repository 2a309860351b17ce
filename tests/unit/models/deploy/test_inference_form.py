"""The inference form where folding cannot be had."""

from __future__ import annotations

import torch
from torch import nn

from src.models.deploy.inference_form import inference_form
from src.models.video import FrameInput, SingleFrame
from tests.support.tiny_arseg import Tiny


class Centred(Tiny):
    """Its forward needs a value, which no tracer has."""

    def encode(self, x):
        return super().encode(x - float(x.mean()))


def step(method: SingleFrame) -> torch.Tensor:
    with torch.no_grad():
        return method.step(FrameInput(torch.randn(1, 3, 36, 52, generator=torch.Generator().manual_seed(0))), None)[0]


def test_a_network_that_cannot_be_traced_keeps_its_batch_norms(caplog):
    net = SingleFrame(Centred()).eval()
    fast = inference_form(net)
    assert any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    assert torch.equal(step(fast), step(net))
    assert "batch norms of constant stay" in caplog.text


def test_a_classifier_of_zeros_is_run():
    net = SingleFrame(Tiny()).eval()
    nn.init.zeros_(net.net.head.weight)
    nn.init.zeros_(net.net.head.bias)
    assert not step(inference_form(net)).any()
