from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.models.ddrnet.net import DDRNet
from src.models.deploy.reparameterise import deploy
from tests.support.rdrnet_variants import randomise_batchnorm, relative

TINY = {"num_classes": 5, "width": 8, "head_channels": 12, "pooling_channels": 8}


def test_folding_keeps_logits():
    torch.manual_seed(0)
    net = randomise_batchnorm(DDRNet(**TINY)).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative(deploy(net, fold_batchnorm=True)(image), net(image)) < 1e-5


def test_there_is_nothing_to_merge_without_folding():
    with pytest.raises(UserError, match="fold_batchnorm"):
        deploy(DDRNet(**TINY))
