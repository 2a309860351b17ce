"""PP-LiteSeg-B: size, shapes, heads and fusion."""

from __future__ import annotations

import pytest
import torch

from src.models.pp_liteseg.net import AttentionFusion, PPLiteSeg
from tests.support.rdrnet_variants import gmacs, parameters


# Counted on PaddleSeg 2.8 with 19 classes; GMACs at 1024 x 2048, batch norms and activations among them.
def test_published_size():
    with torch.device("meta"):
        net = PPLiteSeg(19)
    biases = 512  # before the batch norms of the pyramid
    assert parameters(net) == 12_366_464 - biases
    assert [parameters(head) for head in (net.aux16, net.aux32)] == [56_640, 75_072]
    assert gmacs(net) == pytest.approx(77.17, rel=5e-3)


def test_outputs_of_odd_sizes():
    with torch.device("meta"):
        net, x = PPLiteSeg(5), torch.empty(2, 3, 353, 481)
    features, taps = net.encode(x)
    assert features.shape == (2, 64, 45, 61)
    shapes = {name: tuple(out.shape[1:]) for name, out in net.auxiliary(taps).items()}
    assert shapes == {"aux16": (5, 23, 31), "aux32": (5, 12, 16)}


@torch.no_grad()
def test_attention_chooses_between_the_finer_and_the_coarser_map():
    fusion = AttentionFusion(3, 4, 5).eval()
    low, high = torch.randn(1, 3, 8, 8), torch.randn(1, 4, 4, 4)
    bias = fusion.attention[1].bn.bias
    bias.fill_(50.0)
    torch.testing.assert_close(fusion(low, high), fusion.last(fusion.conv(low)))
    bias.fill_(-50.0)
    enlarged = torch.nn.functional.interpolate(high, (8, 8), mode="bilinear")
    torch.testing.assert_close(fusion(low, high), fusion.last(enlarged))
