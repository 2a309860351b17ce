"""ICNet: published size, shapes and heads."""

from __future__ import annotations

import pytest
import torch

from src.models.icnet.net import ICNet
from tests.support.rdrnet_variants import gmacs, parameters


# Parameters and GMACs at 1024 x 2048 with 19 classes, counted on mmsegmentation's implementation.
@pytest.mark.parametrize(
    ("depth", "counted", "inference", "expected"),
    [(18, 25_174_393, 24_874_067, 74.24), (50, 47_827_833, 47_527_507, 121.97)],
)
def test_published_size(depth, counted, inference, expected):
    with torch.device("meta"):
        net = ICNet(19, depth)
    assert parameters(net) == counted
    assert counted - parameters(net.aux8) - parameters(net.aux16) == inference
    assert gmacs(net) == pytest.approx(expected, rel=1e-3)


def test_outputs_of_odd_sizes():
    with torch.device("meta"):
        net, x = ICNet(5, 18), torch.empty(2, 3, 353, 481)
    features, taps = net.encode(x)
    assert features.shape == (2, 128, 45, 61)
    shapes = {name: tuple(out.shape[1:]) for name, out in net.auxiliary(taps).items()}
    assert shapes == {"aux8": (5, 45, 61), "aux16": (5, 23, 31)}
