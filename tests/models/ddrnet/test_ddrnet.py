from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.models.ddrnet.net import DDRNet
from src.models.rdrnet.deploy import deploy
from tests.models.rdrnet.variants import gmacs, parameters, randomise_batchnorm, relative, unreached

TINY = {"num_classes": 5, "width": 8, "head_channels": 12, "pooling_channels": 8}


# Parameters with the auxiliary head, GMACs at 1024 x 2048 (paper: 36.3 and 143.1), computed with public code.
@pytest.mark.parametrize(("width", "head", "size", "cost"), [(32, 64, 5.734e6, 36.28), (64, 128, 20.299e6, 143.06)])
def test_published_size(width, head, size, cost):
    with torch.device("meta"):
        net = DDRNet(19, width, head)
    assert parameters(net) == pytest.approx(size, rel=1e-4)
    assert gmacs(net) == pytest.approx(cost, rel=1e-3)


def test_odd_sizes_and_all_gradients():
    net = DDRNet(**TINY)
    assert unreached(net) == []
    with torch.no_grad():
        assert net.eval()(torch.randn(1, 3, 65, 97)).shape == (1, 5, 65, 97)


def test_folding_keeps_logits():
    torch.manual_seed(0)
    net = randomise_batchnorm(DDRNet(**TINY)).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative(deploy(net, fold_batchnorm=True)(image), net(image)) < 1e-5


def test_there_is_nothing_to_merge_without_folding():
    with pytest.raises(UserError, match="fold_batchnorm"):
        deploy(DDRNet(**TINY))


def test_exported_program_gives_the_same_logits():
    net = DDRNet(**TINY).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(net, (image,)).module()(image), net(image))
