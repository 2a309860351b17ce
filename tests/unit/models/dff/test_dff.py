"""DFF and Accel: what they compute, their state, their cost, and their training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from src.data.batch import ClipBatch
from src.errors import UserError
from src.losses.segmentation import CrossEntropy, SegmentationLoss
from src.metrics.cost import inference_cost
from src.models.dff.net import DFF, Accel
from src.models.video import FrameInput
from src.ops.resize import size_of
from src.training.modules import propagation
from tests.support.scores import IOU
from tests.support.tiny_arseg import GroupTiny, Tiny, pair, tiny_arseg

STRIDE = 4  # of `Tiny`
METHODS: dict[str, Callable[[], DFF]] = {"dff": lambda: DFF(GroupTiny), "accel": lambda: Accel(GroupTiny, GroupTiny)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@torch.no_grad()
def test_features_of_the_keyframe_move_along_the_motion():
    net = DFF(GroupTiny).eval()
    key, current, *_ = pair(height=36, width=52)
    logits, state = net.step(FrameInput(key), net.init_state())
    torch.testing.assert_close(logits, net.net(key))
    cells = torch.tensor([2.0, -1.0])[:, None, None] * STRIDE
    coarse, after = net.coarse(FrameInput(current, cells.expand(2, 2, 36, 52)), state)
    still = net.net.coarse(key).logits
    torch.testing.assert_close(coarse.logits[..., 1:, :-2], still[..., :-1, 2:], atol=1e-5, rtol=1e-5)
    assert after is state


@torch.no_grad()
def test_accel_starts_as_the_mean_of_its_branches():
    net = Accel(GroupTiny, GroupTiny).eval()
    key, current, motion, valid = pair()
    state = net.advance(FrameInput(key), net.init_state())
    frame = FrameInput(current, motion, valid)
    logits, moved = net.step(frame, state)[0], DFF(lambda: net.net).step(frame, state)[0]
    torch.testing.assert_close(logits, (moved + net.update(current)) / 2, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net.step(FrameInput(key), state)[0], net.net(key))


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_a_stream_gives_what_training_computes_of_its_pairs(name: str, monkeypatch: pytest.MonkeyPatch):
    net = METHODS[name]().eval()
    module = module_of(net, monkeypatch)
    key, _, motion, valid = pair()
    later = torch.randn(2, *key.shape)
    state = net.step(FrameInput(key), net.init_state())[1]
    for current, scale in zip(later, (0.5, 1.0), strict=True):
        logits, state = net.step(FrameInput(current, scale * motion, valid), state)
        batch = batch_of(torch.stack([key, current], 1), scale * motion, valid)
        torch.testing.assert_close(module.predict_logits(batch, 0), logits)
    apart = [net.step(FrameInput(i[None]), net.init_state())[1] for i in key]
    for n, one in enumerate(apart):
        alone = net.step(FrameInput(later[1][n : n + 1], motion[n : n + 1], valid[n : n + 1]), one)[0]
        torch.testing.assert_close(alone, logits[n : n + 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_training_reaches_both_branches_and_lowers_the_loss(name: str, monkeypatch: pytest.MonkeyPatch):
    net = METHODS[name]().train()
    module = module_of(net, monkeypatch)
    key, current, motion, valid = pair()
    batch = batch_of(torch.stack([key, current], 1), motion, valid)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    idle = {key.partition("aux")[0] for key, p in net.named_parameters() if p.grad is None}
    assert idle == ({"net.", "update."} if name == "accel" else {"net."})
    assert all("aux" in key for key, p in net.named_parameters() if p.grad is None)
    assert losses[-1] < losses[0]


def test_checkpoints_fill_the_branches_they_are_of(monkeypatch: pytest.MonkeyPatch):
    filled = []
    monkeypatch.setattr(propagation, "load_net", lambda net, path: filled.append((net, path)))
    net = Accel(Tiny, Tiny)
    propagation.PropagationModule(net, loss(), Path("a"), Path("b"), **BASE)
    assert filled == [(net.net, Path("a")), (net.update, Path("b"))]


def test_between_keyframes_dff_runs_the_classifier_alone_and_accel_its_update_branch_too():
    size, cells = (36, 52), 9 * 13
    classifier, fusion = cells * 6 * 5, cells * 10 * 5
    plain, light = inference_cost(DFF(Tiny), size, 4), inference_cost(Accel(Tiny, Tiny), size, 4)
    assert plain.gmacs_nonkey == pytest.approx(classifier / 1e9)
    assert light.gmacs_key == plain.gmacs_key
    assert light.gmacs_nonkey == pytest.approx(plain.gmacs_nonkey + plain.gmacs_key + fusion / 1e9)
    assert plain.gmacs_amortised == pytest.approx((plain.gmacs_key + 3 * plain.gmacs_nonkey) / 4)


def test_what_does_not_fit_is_refused():
    key, _, motion, _ = pair()
    net = DFF(Tiny)
    with pytest.raises(UserError, match="start with a keyframe"):
        net.step(FrameInput(key, motion), net.init_state())
    with pytest.raises(UserError, match="not of a ARSeg; give network="):
        DFF(tiny_arseg)
    with pytest.raises(UserError, match="7 classes, the reference branch 5"):
        Accel(Tiny, lambda: Tiny(7))


BASE = {
    "optimizer": torch.optim.SGD,
    "scheduler": None,
    "decay": "all",
    "class_names": list("abcde"),
    "distances": 4,
    "metrics": IOU,
}


def loss() -> SegmentationLoss:
    return SegmentationLoss(CrossEntropy(), {"aux": CrossEntropy()})


def module_of(net: DFF, monkeypatch: pytest.MonkeyPatch) -> propagation.PropagationModule:
    monkeypatch.setattr(propagation, "load_net", lambda *_: None)
    return propagation.PropagationModule(net, loss(), Path(), **BASE)


def batch_of(frames: torch.Tensor, motion: torch.Tensor, valid: torch.Tensor) -> ClipBatch:
    labels = torch.randint(5, (len(frames), *size_of(frames)), generator=torch.Generator().manual_seed(0))
    return ClipBatch(frames, labels, motion, valid, torch.ones(len(frames), dtype=torch.int64), ["a", "b"])
