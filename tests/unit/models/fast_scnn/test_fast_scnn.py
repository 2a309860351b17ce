"""Fast-SCNN: published size, shapes and heads."""

from __future__ import annotations

import pytest
import torch

from src.models.fast_scnn.net import FastSCNN
from tests.support.rdrnet_variants import gmacs, parameters


# Parameters and GMACs at 1024 x 2048 with 19 classes, counted on mmsegmentation's implementation.
def test_published_size():
    with torch.device("meta"):
        net = FastSCNN(19)
    assert parameters(net) == 1_456_617
    assert parameters(net) - parameters(net.aux8) - parameters(net.aux32) == 1_399_939
    assert gmacs(net) == pytest.approx(7.25, rel=1e-3)


def test_outputs_of_odd_sizes():
    with torch.device("meta"):
        net, x = FastSCNN(5), torch.empty(2, 3, 353, 481)
    features, taps = net.encode(x)
    assert features.shape == (2, 128, 45, 61)
    shapes = {name: tuple(out.shape[1:]) for name, out in net.auxiliary(taps).items()}
    assert shapes == {"aux8": (5, 45, 61), "aux32": (5, 12, 16)}
