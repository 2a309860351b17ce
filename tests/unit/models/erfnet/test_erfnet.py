"""ERFNet: published size and shapes."""

from __future__ import annotations

import pytest
import torch

from src.models.erfnet.net import ERFNet
from tests.support.rdrnet_variants import gmacs, parameters


# Parameters and GMACs at 1024 x 2048 with 19 classes, counted on mmsegmentation's implementation.
def test_published_size():
    with torch.device("meta"):
        net = ERFNet(19)
    assert parameters(net) == 2_084_095
    assert gmacs(net) == pytest.approx(116.72, rel=1e-3)


def test_features_of_odd_sizes_are_those_of_the_next_multiple_of_eight():
    with torch.device("meta"):
        net, x = ERFNet(5), torch.empty(2, 3, 353, 481)
        assert net.features(x).shape == (2, 128, 360 // 2, 488 // 2)
        assert net(x).shape == (2, 5, 353, 481)
