"""The fast form of frozen networks gives what the network gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from src.models.deploy.activated_conv import ActivatedConv
from src.models.deploy.frozen import frozen_features
from src.models.dfanet.net import DFANet
from src.models.pidnet.net import PIDNet
from src.models.pspnet.net import PSPNet
from src.models.timm_segmenter import TimmSegmenter
from tests.support.tiny_arseg import Tiny

NETS = {
    "timm": lambda: TimmSegmenter("tf_efficientnet_lite0", 11),
    "pspnet18": lambda: PSPNet(11),
    "dfanet": lambda: DFANet(11, "b"),
    "pidnet": lambda: PIDNet(11, 8, 12, 8),
    "tiny": lambda: Tiny(11),
}


def trained(name: str) -> nn.Module:
    """Batch norms that have seen something, in eval mode."""
    torch.manual_seed(0)
    net = NETS[name]()
    net.train()
    with torch.no_grad():
        net(torch.randn(2, 3, 96, 128))
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_fast_features_are_those_of_the_network(name: str, layout: torch.memory_format) -> None:
    net = trained(name).to(memory_format=layout)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    picture = torch.randn(2, 3, 90, 122)
    fast = frozen_features(net)
    expected = net.features(picture)
    assert (fast(picture) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.autocast("cpu", torch.bfloat16):
        half = fast(picture)
        assert half.dtype == torch.bfloat16
        away = (half - expected).abs().mean()
        assert away <= 1.5 * (net.features(picture) - expected).abs().mean()


def test_no_batch_norm_is_left_and_activations_are_part_of_convolutions() -> None:
    modules = list(frozen_features(trained("timm")).__self__.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    assert sum(isinstance(module, ActivatedConv) for module in modules) > 30


class Bypassed(Tiny):
    """A plain function reads the convolution's result beside its activation."""

    def encode(self, x):
        before = self.body[0](x)
        return before + torch.relu(before) + self.body[2](before), {}


def test_a_result_that_a_function_reads_too_is_not_activated() -> None:
    net = Bypassed(11).eval()
    picture = torch.randn(1, 3, 36, 52)
    fast = frozen_features(net)
    with torch.no_grad():
        assert torch.allclose(fast(picture), net.features(picture), atol=1e-6)
    assert not any(isinstance(module, ActivatedConv) for module in fast.__self__.modules())


class Hidden(Tiny):
    """Reads a convolution's weight behind its back, as no trace of calls shows."""

    def encode(self, x):
        before = self.body[0](x)
        weighted = self.body[0].weight if hasattr(self.body[0], "weight") else 0 * self.body[0].conv.weight
        return self.body[2](before) * weighted.abs().sum(), {}


def test_a_fast_form_that_differs_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    net = Hidden(11).eval()
    fast, picture = frozen_features(net), torch.randn(1, 3, 36, 52)
    with torch.no_grad():
        assert torch.equal(fast(picture), net.features(picture))
    assert "the frozen Hidden runs as it is" in caplog.text
