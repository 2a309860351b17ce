from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from src.errors import UserError
from src.models.deploy.reparameterise import deployed_rdrnet
from src.models.gcnet.net import GCBlock
from src.models.rdrnet.pooling import GroupedPair
from src.models.rdrnet.reparam import MergedBlock, ReparamBlock
from tests.support.rdrnet_variants import TINY, deployed, randomise_batchnorm, relative, tiny


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(6, 6, 1), (6, 9, 1), (6, 6, 2), (3, 8, 2)])
@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("kind", [ReparamBlock, GCBlock])
def test_merged_block_is_exact_including_the_border(kind, inputs, outputs, stride, active):
    torch.manual_seed(0)
    block = randomise_batchnorm(kind(inputs, outputs, stride, active)).double().eval()
    x = torch.randn(2, inputs, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(block.merged()(x), block(x), rtol=1e-10, atol=1e-10)


def test_merged_pair_is_exact():
    torch.manual_seed(0)
    pair = randomise_batchnorm(GroupedPair(8, groups=4)).double().eval()
    x = torch.randn(2, 8, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(pair.merged()(x), pair(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fold", [False, True])
def test_deployed_logits_equal_training_form(fold):
    net = tiny(seed=3)
    fast = deployed(net, fold)
    image = torch.randn(2, 3, 70, 90)
    with torch.no_grad():
        assert relative(fast(image), net.eval()(image)) < 1e-5


def test_network_stays_as_it_was():
    net = tiny().train()
    before = deepcopy(net.state_dict())
    fast = deployed(net)
    assert net.training
    assert not fast.training
    assert not any(isinstance(m, MergedBlock) for m in net.modules())
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
    shared = {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in fast.parameters()}
    assert shared == set()


def test_deployed_names_are_the_official_ones():
    net = tiny()
    expected = set()
    for key in net.state_dict():
        block, path, _ = key.partition(".path_")
        pair, parallel, _ = key.partition(".parallel")
        expected |= {f"{block}.reparam_3x3.{end}" for end in ("weight", "bias")} if path else set()
        expected |= {f"{pair}.reparam_parallel.{end}" for end in ("weight", "bias")} if parallel else set()
        expected |= {key} if not path and not parallel else set()
    assert set(deployed(net).state_dict()) == expected


def test_training_weights_are_refused_by_a_deployed_network():
    with pytest.raises(RuntimeError, match="Unexpected key"):
        deployed_rdrnet(**TINY).load_state_dict(tiny().state_dict())


def test_a_deployed_network_stays_as_it_is():
    once = deployed(tiny())
    twice = deployed(once)
    assert all(torch.equal(value, twice.state_dict()[key]) for key, value in once.state_dict().items())


def test_folding_leaves_only_batch_norms_without_a_convolution_before_them():
    folded = deployed(tiny(), fold=True)
    norms = [name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 11
    assert all(".spp." in name or "head" in name for name in norms)


def test_wrong_merge_is_not_handed_out(monkeypatch):
    def without_residual(self: ReparamBlock) -> MergedBlock:
        residual, self.path_residual = self.path_residual, None
        merged = merge(self)
        self.path_residual = residual
        return merged

    merge = ReparamBlock.merged
    monkeypatch.setattr(ReparamBlock, "merged", without_residual)
    with pytest.raises(RuntimeError, match="changes its outputs"):
        deployed(tiny())


def test_broken_statistics_are_not_handed_out():
    net = tiny()
    net.backbone.stem[0].path_3x3.bn.running_var.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        deployed(net)
