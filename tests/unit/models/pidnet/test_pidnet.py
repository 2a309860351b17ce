from __future__ import annotations

import torch

from src.models.pidnet.net import Bag, LightBag, PagFM, PIDNet
from tests.support.rdrnet_variants import deployed, randomise_batchnorm, relative

TINY = {"num_classes": 5, "width": 8, "head_channels": 12, "pooling_channels": 8}


def test_auxiliary_outputs():
    net = PIDNet(**TINY).eval()
    _, taps = net.encode(torch.randn(1, 3, 64, 96))
    shapes = {name: tuple(out.shape) for name, out in net.auxiliary(taps).items()}
    assert shapes == {"aux": (1, 5, 8, 12), "boundary": (1, 1, 8, 12)}


def test_pag_takes_context_where_the_branches_agree():
    fusion = PagFM(2, 2).eval()
    for unit in (fusion.f_i, fusion.f_p):
        unit.conv.weight.data = torch.eye(2)[:, :, None, None]
    context = torch.tensor([9.0, 0.0]).view(1, 2, 1, 1)
    detail = torch.tensor([[5.0, 1.0], [-5.0, 1.0]]).t().reshape(1, 2, 1, 2)
    fused = fusion(detail, context)
    torch.testing.assert_close(fused[..., 0], context[..., 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fused[..., 1], detail[..., 1], rtol=1e-4, atol=1e-4)


def test_bag_drops_context_from_detail_at_boundaries_and_detail_from_context_elsewhere():
    bag = LightBag(3).eval()
    detail, context = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    sure = torch.full_like(detail, 50.0)
    torch.testing.assert_close(bag(detail, context, sure), bag.f_p(detail) + bag.f_i(context + detail))
    torch.testing.assert_close(bag(detail, context, -sure), bag.f_p(detail + context) + bag.f_i(context))


def test_bag_of_the_deepest_variant_takes_detail_at_boundaries_and_context_elsewhere():
    bag = Bag(3).eval()
    detail, context = torch.randn(1, 3, 2, 2), torch.randn(1, 3, 2, 2)
    sure = torch.full_like(detail, 50.0)
    torch.testing.assert_close(bag(detail, context, sure), bag.conv(detail))
    torch.testing.assert_close(bag(detail, context, -sure), bag.conv(context))


def test_folding_keeps_logits():
    torch.manual_seed(0)
    net = randomise_batchnorm(PIDNet(**TINY)).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative(deployed(net, fold=True)(image), net(image)) < 1e-5
