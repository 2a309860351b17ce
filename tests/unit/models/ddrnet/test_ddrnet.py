from __future__ import annotations

import torch

from src.models.ddrnet.net import DDRNet
from tests.support.rdrnet_variants import deployed, randomise_batchnorm, relative

TINY = {"num_classes": 5, "width": 8, "head_channels": 12, "pooling_channels": 8}


def test_folding_keeps_logits():
    torch.manual_seed(0)
    net = randomise_batchnorm(DDRNet(**TINY)).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative(deployed(net, fold=True)(image), net(image)) < 1e-5
