"""BiSeNetV2: published size, shapes and heads."""

from __future__ import annotations

import pytest
import torch

from src.models.bisenetv2.net import BiSeNetV2
from tests.support.rdrnet_variants import gmacs, parameters


# Parameters and GMACs at 1024 x 2048 with 19 classes, counted on mmsegmentation's implementation.
def test_published_size():
    with torch.device("meta"):
        net = BiSeNetV2(19)
    assert parameters(net) == 14_804_255
    assert parameters(net) - parameters(net.boosters) == 3_358_883
    assert gmacs(net) == pytest.approx(98.41, rel=1e-3)


def test_boosters_see_the_strides_they_are_named_after():
    with torch.device("meta"):
        net, x = BiSeNetV2(5), torch.empty(2, 3, 353, 481)
    features, taps = net.encode(x)
    assert features.shape == (2, 1024, 45, 61)
    shapes = {name: tuple(out.shape[1:]) for name, out in net.auxiliary(taps).items()}
    assert shapes == {"aux4": (5, 89, 121), "aux8": (5, 45, 61), "aux16": (5, 23, 31), "aux32": (5, 12, 16)}
