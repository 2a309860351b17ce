"""What AR-Seg's second phase optimises, and how fast."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from src.adaptation.learner import Learner
from src.adaptation.options import Learning
from src.checkpoints.load import load_checkpoint
from src.data.batch import ClipBatch
from src.errors import UserError
from src.losses.distillation import channel_divergence
from src.losses.segmentation import CrossEntropy, SegmentationLoss
from src.training.modules.arseg import ARSegModule
from src.training.modules.segmentation import load_net
from src.training.schedules import cosine
from tests.support.scores import IOU
from tests.support.tiny_arseg import pair, tiny_arseg
from tests.support.tiny_runner import AR, save_checkpoint

LEARNING = Learning(1e-4, 2, (36, 52), (1.0, 1.0), 0.5, 1.0, 1.0, 1.0, "fp32")


@pytest.fixture
def net():
    return tiny_arseg(mix="gate", init="identity")


@pytest.fixture
def make_module(net, tmp_path, monkeypatch):
    monkeypatch.setattr("src.training.modules.arseg.load_net", lambda *_: None)
    return partial(
        ARSegModule,
        net,
        SegmentationLoss(CrossEntropy()),
        tmp_path,
        low_start="own",
        feature_weight=1.0,
        low_weight=0.0,
        fusion_from_epoch=0,
        fusion_lr=5.0,
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        scheduler=partial(cosine, warmup=0.0),
        class_names=["a", "b"],
        distances=2,
        metrics=IOU,
        decay="all",
    )


@pytest.fixture
def module(make_module):
    module = make_module()
    module._trainer = SimpleNamespace(estimated_stepping_batches=10, strategy=None)
    return module


def test_fusion_learns_at_its_own_rate_and_the_high_branch_not_at_all(net, module):
    found = module.configure_optimizers()
    rates = {p: group["lr"] for group in found["optimizer"].param_groups for p in group["params"]}
    assert {rates[p] for p in net.fusion.parameters()} == {5e-3}
    assert {rates[p] for p in net.low.parameters() if p.requires_grad} == {1e-3}
    assert not any(p in rates for p in net.high.parameters())
    assert len(rates) == sum(p.requires_grad for p in net.parameters())


def batch(unlabelled=None):
    key, current, motion, valid = pair()
    frames, labels = torch.stack([key, current], 1), torch.randint(0, 2, (2, 36, 52))
    return ClipBatch(frames, labels, motion, valid, torch.tensor([1, 1]), ["a", "b"], unlabelled)


def test_pairs_without_labels_are_learned_from_as_adaptation_does_and_change_no_statistics(net, module):
    module._trainer, others = None, batch()
    torch.manual_seed(1)
    labelled = module.training_step(batch(), 0)
    statistics = {key: value.clone() for key, value in net.named_buffers()}
    net.low.body[1].reset_running_stats()
    torch.manual_seed(1)
    both = module.training_step(batch(others), 0)
    assert all(torch.equal(statistics[key], value) for key, value in net.named_buffers()), "those of labelled clips"
    assert net.low.training
    assert not net.high.training
    learner = Learner(deepcopy(net), LEARNING, steps=None)
    expected = sum(learner.step(others).values())
    assert float(both.detach() - labelled.detach()) == pytest.approx(expected, rel=1e-5)
    grads = torch.autograd.grad(both - labelled.detach(), [p for p in net.fusion.parameters() if p.requires_grad])
    assert any(grad.abs().max() > 0 for grad in grads)


def widths(net, module, steps=8):
    """Of the images that the low branch sees in training."""
    found = []
    handle = net.low.body.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].shape[-1]))
    for index in range(steps):
        module.training_step(batch(), index)
    handle.remove()
    return found


def test_one_of_the_scales_is_drawn_for_each_step_and_the_network_keeps_its_own(net, module):
    module._trainer = None
    assert widths(net, module) == [26] * 8, "half of 52"
    module.scales = [0.25, 0.75]
    found = widths(net, module)
    assert set(found) == {13, 39}
    assert widths(net, module) == found, "epoch and step alone decide, so a resumed run draws the same"
    assert net.scale == 0.5


@pytest.mark.parametrize("scales", [[0.5, 0], [1.5], 0.5, ["half"]])
def test_scales_that_are_none_are_rejected(scales, make_module):
    with pytest.raises(UserError, match=r"^model\.phases\.low\.module\.scales=.* give a list of numbers"):
        make_module(scales=scales)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_frozen_branch_takes_a_faster_form_unless_it_is_compiled(net, module, compiled):
    if compiled:
        module.compile_net("eager")
    module.on_fit_start()
    assert (module.high_features == net.high.features) is compiled


def test_channel_divergence_is_zero_for_equal_distributions_and_that_of_torch_else():
    features, target = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    assert channel_divergence(target + 7, target) == pytest.approx(0, abs=1e-6), "softmax leaves out what all share"
    expected = torch.distributions.kl_divergence(
        *(torch.distributions.Categorical(logits=x.movedim(1, -1)) for x in (target, features))
    )
    torch.testing.assert_close(channel_divergence(features, target), expected.mean())


def test_a_checkpoint_of_arseg_gives_its_high_branch(tmp_path):
    path = save_checkpoint(tmp_path / "ar.ckpt", AR)
    trained = load_checkpoint(path).network
    net = deepcopy(trained.low)
    load_net(net, path)
    for name, value in trained.high.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert any(
        not torch.equal(a, b) for a, b in zip(net.state_dict().values(), trained.low.state_dict().values(), strict=True)
    )
