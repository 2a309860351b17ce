"""CGNet: published size and shapes."""

from __future__ import annotations

import pytest
import torch

from src.models.cgnet.net import CGNet
from tests.support.rdrnet_variants import gmacs, parameters


# Parameters and GMACs at 1024 x 2048 with 19 classes, counted on mmsegmentation's implementation.
def test_published_size():
    with torch.device("meta"):
        net = CGNet(19)
    assert parameters(net) == 496_325
    assert gmacs(net) == pytest.approx(27.05, rel=1e-3)


def test_outputs_of_odd_sizes():
    with torch.device("meta"):
        net, x = CGNet(5), torch.empty(2, 3, 353, 481)
        assert net.features(x).shape == (2, 256, 45, 61)
        assert net(x).shape == (2, 5, 353, 481)
