"""The detail loss of STDC-Seg."""

from __future__ import annotations

import torch

from src.losses.segmentation import CrossEntropy
from src.losses.stdc import STDCLoss, detail_loss, details


def test_details_are_the_side_of_the_higher_class_along_a_change():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, 2:6, 2:6] = 3
    found = details(labels)[0]
    assert found[2, 2:6].all()
    assert found[2:6, 5].all()
    assert not found[0].any()
    assert not details(torch.zeros(1, 8, 8, dtype=torch.int64)).any()


def test_detail_loss_is_least_for_the_targets_themselves():
    targets = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.7
    right = torch.where(targets, 20.0, -20.0)
    assert detail_loss(right, targets) < 1e-3
    assert detail_loss(-right, targets) > 10
    assert detail_loss(torch.full((1, 4, 4), -20.0), torch.zeros(1, 4, 4, dtype=torch.bool)) < 1e-3


def test_every_output_has_its_term():
    logits = torch.randn(2, 5, 4, 4, requires_grad=True)
    outputs = {
        "aux16": torch.randn(2, 5, 4, 4, requires_grad=True),
        "boundary": torch.randn(2, 1, 4, 4, requires_grad=True),
    }
    loss = STDCLoss(CrossEntropy(), {"aux16": CrossEntropy()})
    loss(logits, outputs, torch.randint(5, (2, 16, 16))).backward()
    assert all(x.grad is not None and x.grad.any() for x in (logits, *outputs.values()))
