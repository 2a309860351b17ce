"""PP-LiteSeg-B: its fusion."""

from __future__ import annotations

import torch

from src.models.pp_liteseg.net import AttentionFusion


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
