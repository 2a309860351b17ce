"""STDC-Seg: published size, shapes and heads."""

from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.models.stdc.net import STDCSeg
from tests.support.rdrnet_variants import gmacs, parameters


# Parameters and GMACs at 1024 x 2048 with 19 classes, counted on mmsegmentation's implementation; its detail head has
# two outputs where the original code has one.
@pytest.mark.parametrize(
    ("variant", "counted", "inference", "expected"),
    [(1, 8_425_305, 8_275_123, 67.45), (2, 12_455_769, 12_305_587, 93.83)],
)
def test_published_size(variant, counted, inference, expected):
    with torch.device("meta"):
        net = STDCSeg(19, variant)
    assert parameters(net) - parameters(net.detail) == counted
    assert counted - parameters(net.aux16) - parameters(net.aux32) == inference
    assert gmacs(net) == pytest.approx(expected, rel=1e-3)


def test_outputs_of_odd_sizes():
    with torch.device("meta"):
        net, x = STDCSeg(5, 1), torch.empty(2, 3, 353, 481)
    features, taps = net.encode(x)
    assert features.shape == (2, 256, 45, 61)
    shapes = {name: tuple(out.shape[1:]) for name, out in net.auxiliary(taps).items()}
    assert shapes == {"aux16": (5, 45, 61), "aux32": (5, 23, 31), "boundary": (1, 45, 61)}


def test_an_unknown_variant_is_named():
    with pytest.raises(UserError, match="variant 3 is not known"):
        STDCSeg(5, 3)
