"""A learner changes low branch and fusion only, and moves them towards the high branch."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from src.adaptation.learner import Learner, NotFinite, check_adaptable, load
from src.adaptation.options import Learning
from src.data.batch import ClipBatch
from src.errors import UserError
from src.models.registry import build
from src.models.video import as_video_segmenter
from tests.support.tiny_arseg import pair, tiny_arseg
from tests.support.tiny_runner import AR, IMAGE

DEFAULTS: dict[str, Any] = {
    "lr": 1e-2, "batch_size": 2, "crop": [32, 48], "scale": [1.0, 1.0], "flip": 0.5, "feature_weight": 1.0,
    "soft_weight": 1.0, "share": 1.0, "precision": "fp32",
}  # fmt: skip


def learning(**changes: Any) -> Learning:
    return Learning(**{**DEFAULTS, **changes})


def batch() -> ClipBatch:
    key, image, motion, valid = pair()
    labels = torch.full((2, 36, 52), 255)
    return ClipBatch(torch.stack([key, image], 1), labels, motion, valid, torch.ones(2), ["", ""])


def test_the_loss_falls_and_the_high_branch_and_all_statistics_stay() -> None:
    network = tiny_arseg(mix="gate")
    before = deepcopy(network.state_dict())
    learner = Learner(network, learning(), steps=60)
    losses = [learner.step(batch()) for _ in range(60)]
    assert sum(losses[-1].values()) < sum(losses[0].values()) - 0.1
    assert losses[-1]["soft"] < losses[0]["soft"]
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(("low.body.", "fusion.")) for name in changed)
    assert not any("running" in name or "num_batches" in name for name in changed)


def test_it_continues_exactly_from_its_state() -> None:
    whole, first = (Learner(tiny_arseg(), learning(), steps=6) for _ in range(2))
    for _ in range(6):
        whole.step(batch())
    for _ in range(3):
        first.step(batch())
    second = Learner(tiny_arseg(), learning(), steps=6)
    second.resume(first.state())
    for _ in range(3):
        second.step(batch())
    for expected, found in zip(whole.weights().values(), second.weights().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_share_is_the_part_of_the_way_from_the_start() -> None:
    learner = Learner(tiny_arseg(), learning(share=0.25), steps=None)
    learner.step(batch())
    name = "low.body.0.weight"
    moved = learner.parameters[name].detach() - learner.start[name]
    assert moved.abs().max() > 1e-3
    torch.testing.assert_close(learner.weights()[name] - learner.start[name], 0.25 * moved)


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    network = tiny_arseg()
    learner = Learner(network, learning(), steps=None)
    broken = batch()
    broken.frames[0, 1, 0, 5, 5] = float("nan")
    before = deepcopy(network.state_dict())
    with pytest.raises(NotFinite, match="not finite at step 1"):
        learner.step(broken)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_that_are_not_finite_are_not_handed_out() -> None:
    learner = Learner(tiny_arseg(), learning(), steps=None)
    with torch.no_grad():
        learner.parameters["fusion.query.weight"].fill_(float("inf"))
    with pytest.raises(NotFinite, match="weights"):
        learner.weights()
    learner.restart()
    assert all(bool(value.isfinite().all()) for value in learner.weights().values())


def test_loading_is_in_place_and_by_name() -> None:
    network = tiny_arseg()
    parameter = dict(network.named_parameters())["fusion.query.bias"]
    load(network, {"fusion.query.bias": torch.full_like(parameter, 3.0)})
    assert np.allclose(parameter.detach().numpy(), 3)


@pytest.mark.parametrize(
    "form",
    [{"fusion": {"location": "body"}}, {"share_classifier": False}, {"legacy": "log_probabilities"}],
    ids=["fused inside", "own classifier", "official"],
)
def test_every_form_of_the_method_learns(form: dict[str, Any]) -> None:
    network: Any = build("arseg", {**AR["arguments"], **form})
    before = deepcopy(network.high.state_dict())
    learner = Learner(network, learning(), steps=None)
    losses = [sum(learner.step(batch()).values()) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in network.high.state_dict().items())


def test_networks_without_keyframes_are_rejected() -> None:
    check_adaptable(build(**AR), "ar.ckpt")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"'image.ckpt' holds a network \(constant\).*AR-Seg"):
        check_adaptable(as_video_segmenter(build(**IMAGE)), "image.ckpt")


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.0}, {"batch_size": 0}, {"crop": [32]}, {"scale": [2.0, 1.0]}, {"flip": 2}, {"feature_weight": -1.0},
        {"share": 0.0}, {"precision": "fp16"},
    ],
)  # fmt: skip
def test_values_out_of_range_are_rejected_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"learning.{next(iter(change))}"):
        learning(**change)


def test_messages_name_the_keys_where_they_were_given() -> None:
    with pytest.raises(UserError, match=r"^online\.learning\.share=2 "):
        learning(share=2, group="online.learning")
