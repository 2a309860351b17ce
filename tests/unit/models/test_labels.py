"""Labels of every method are the classes of its highest logits."""

from __future__ import annotations

import pytest
import torch

from src.models.dff.net import DFF, Accel
from src.models.video import FrameInput, SingleFrame
from tests.support.tiny_arseg import Tiny, pair, tiny_arseg
from tests.support.tiny_tdnet import tiny_tdnet

METHODS = {
    "constant": lambda: SingleFrame(Tiny()),
    "constant at half size": lambda: SingleFrame(Tiny(), 0.5),
    "AR": tiny_arseg,
    "warp only": lambda: tiny_arseg().comparisons()[1],
    "AR, official": lambda: tiny_arseg(legacy="log_probabilities"),
    "AR, official and coarse": lambda: tiny_arseg(legacy="coarse_logits"),
    "DFF": lambda: DFF(Tiny),
    "Accel": lambda: Accel(Tiny, Tiny),
    "TDNet": lambda: tiny_tdnet(5, 2),
    "own path": lambda: tiny_tdnet(5, 2).comparisons()[0],
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [(36, 52), (50, 40)])
@torch.no_grad()
def test_labels_are_the_classes_of_the_highest_logits_of_a_step(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = METHODS[name]().eval()
    key, current, motion, valid = pair()
    state, other = net.init_state(), net.init_state()
    for frame in (FrameInput(key), FrameInput(current, motion, valid) if net.uses_motion else FrameInput(current)):
        logits, state = net.step(frame, state)
        labels, other = net.labels(frame, other, size)
        large = torch.nn.functional.interpolate(logits, size, mode="bilinear") if size != (36, 52) else logits
        assert torch.equal(labels, large.argmax(1).to(torch.uint8))
        assert labels.shape == (2, *size)


@pytest.mark.parametrize("name", ["constant", "AR", "warp only", "DFF", "Accel", "TDNet"])
@torch.no_grad()
def test_labels_come_from_logits_at_the_resolution_of_the_classifier(name: str) -> None:
    net = METHODS[name]().eval()
    coarse, _ = net.coarse(FrameInput(pair()[0]), net.init_state())
    assert coarse.logits.shape[-1] < 52
