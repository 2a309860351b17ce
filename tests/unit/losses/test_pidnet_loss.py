from __future__ import annotations

import torch
import torch.nn.functional as F

from src.losses.ohem import OhemCrossEntropy
from src.losses.pidnet import PIDNetLoss, balanced_bce, boundaries
from src.losses.segmentation import CrossEntropy


def halves(height: int = 16, width: int = 16) -> torch.Tensor:
    labels = torch.zeros(1, height, width, dtype=torch.int64)
    labels[:, :, width // 2 :] = 1
    return labels


def test_boundary_band_has_its_thickness_and_lies_on_the_change():
    band = boundaries(halves(), 4)[0]
    assert band.sum(1).tolist() == [4] * 16
    assert band[0].nonzero().flatten().float().mean() in (6.5, 7.5)
    assert not boundaries(torch.ones(1, 8, 8, dtype=torch.int64), 4).any()


def test_both_sides_of_the_boundary_term_weigh_the_same():
    targets = boundaries(halves(), 4)
    logits = torch.zeros(targets.shape, requires_grad=True)
    balanced_bce(logits, targets).backward()
    torch.testing.assert_close(logits.grad[targets].sum(), -logits.grad[~targets].sum())


def test_terms_add_up_and_semantic_term_applies_at_predicted_boundaries_only():
    torch.manual_seed(0)
    labels = halves()
    logits, auxiliary, boundary = (
        torch.randn(1, 2, 16, 16),
        torch.randn(1, 2, 2, 2),
        torch.full((1, 1, 16, 16), -9.0),
    )
    boundary[..., 5] = 9.0
    loss = PIDNetLoss(CrossEntropy(), {"aux": CrossEntropy()})
    expected = (
        F.cross_entropy(logits, labels)
        + 0.4 * F.cross_entropy(F.interpolate(auxiliary, size=(16, 16), mode="bilinear"), labels)
        + 20 * balanced_bce(boundary[:, 0], boundaries(labels, 4))
        + F.cross_entropy(logits[..., 5], labels[..., 5])
    )
    torch.testing.assert_close(loss(logits, {"aux": auxiliary, "boundary": boundary}, labels), expected)


def test_finite_gradients_without_predicted_boundaries_or_labels():
    outputs = [torch.zeros(1, c, 2, 2, requires_grad=True) for c in (2, 2, 1)]
    loss = PIDNetLoss(OhemCrossEntropy(0.9, 10), {"aux": CrossEntropy()})
    labels = torch.full((1, 16, 16), 255)
    loss(outputs[0], {"aux": outputs[1], "boundary": outputs[2]}, labels).backward()
    assert all(out.grad is not None and out.grad.isfinite().all() for out in outputs)
