from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.data.labels import IGNORE
from src.losses.lovasz import BINS, CrossEntropyAndLovasz, lovasz_softmax
from src.losses.segmentation import CrossEntropy

CLASSES = 5


@pytest.fixture
def labels() -> Tensor:
    """Of four of the classes, some ignored."""
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES - 1, (2, 12, 16))
    labels[0, :3] = IGNORE
    return labels


@pytest.fixture
def logits() -> Tensor:
    return 2 * torch.randn(2, CLASSES, 12, 16, dtype=torch.double)


def of_sorted_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """The paper's algorithm 1, class by class."""
    probabilities, kept = logits.softmax(1).movedim(1, -1).flatten(0, 2), labels.flatten() != IGNORE
    probabilities, labels = probabilities[kept], labels.flatten()[kept]
    losses = []
    for c in labels.unique():
        true = (labels == c).double()
        errors, order = (true - probabilities[:, c]).abs().sort(descending=True)
        true = true[order]
        intersections, unions = true.sum() - true.cumsum(0), true.sum() + (1 - true).cumsum(0)
        jaccard = 1 - intersections / unions
        losses.append((errors * jaccard.diff(prepend=jaccard.new_zeros(1))).sum())
    return torch.stack(losses).mean()


def test_it_is_that_of_sorted_errors(logits: Tensor, labels: Tensor) -> None:
    assert abs(lovasz_softmax(logits, labels) - of_sorted_errors(logits, labels)) < 1 / BINS


def test_its_gradient_is_that_of_sorted_errors_where_no_two_share_a_bin() -> None:
    labels = torch.tensor([[[0, 1, 0, 1, 0, IGNORE]]])
    logits = torch.linspace(-3, 3, 12, dtype=torch.double).sin().mul(3).view(1, 2, 1, 6).requires_grad_()
    found = torch.autograd.grad(lovasz_softmax(logits, labels), logits)[0]
    expected = torch.autograd.grad(of_sorted_errors(logits, labels), logits)[0]
    assert torch.allclose(found, expected, atol=1e-6)


def test_of_decided_pixels_it_is_one_minus_the_mean_intersection_over_union(labels: Tensor) -> None:
    predicted = torch.where(torch.rand(labels.shape) < 0.3, 0, labels.clamp(max=CLASSES - 1))
    decided = 100 * torch.nn.functional.one_hot(predicted, CLASSES).movedim(-1, 1).float()
    kept, scores = labels != IGNORE, []
    for c in range(CLASSES - 1):
        true, positive = (labels == c)[kept], (predicted == c)[kept]
        scores.append((true & positive).sum() / (true | positive).sum())
    assert lovasz_softmax(decided, labels) == pytest.approx(1 - float(torch.stack(scores).mean()), abs=1e-5)


def test_a_class_that_does_not_occur_has_no_loss_of_its_own(logits: Tensor, labels: Tensor) -> None:
    merged = torch.cat([logits[:, :-2], logits[:, -2:].logsumexp(1, keepdim=True)], 1)
    before = lovasz_softmax(logits, labels.clamp(max=2).where(labels != IGNORE, IGNORE))
    after = lovasz_softmax(merged, labels.clamp(max=2).where(labels != IGNORE, IGNORE))
    assert before == pytest.approx(float(after), abs=1e-6)


def test_ignored_pixels_have_no_part_in_it(logits: Tensor, labels: Tensor) -> None:
    changed = torch.where((labels == IGNORE)[:, None], torch.nan, logits).requires_grad_()
    loss = lovasz_softmax(changed, labels)
    assert loss == lovasz_softmax(logits, labels)
    loss.backward()
    assert changed.grad is not None
    assert not changed.grad.movedim(1, -1)[labels == IGNORE].any()


def test_without_labels_it_is_a_zero_with_gradients(logits: Tensor, labels: Tensor) -> None:
    logits.requires_grad_()
    loss = lovasz_softmax(logits, torch.full_like(labels, IGNORE))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_steps_along_its_gradient_raise_the_intersection_over_union(labels: Tensor) -> None:
    logits = torch.zeros(2, CLASSES, 12, 16, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(50):
        optimizer.zero_grad()
        lovasz_softmax(logits, labels).backward()
        optimizer.step()
    kept = labels != IGNORE
    assert (logits.argmax(1) == labels)[kept].float().mean() > 0.99


def test_it_adds_to_weighted_cross_entropy(logits: Tensor, labels: Tensor) -> None:
    logits, weights = logits.float(), [0.5, 1.0, 2.0, 1.0, 1.0]
    both = CrossEntropyAndLovasz(weights)(logits, labels)
    assert both == pytest.approx(float(CrossEntropy(weights)(logits, labels) + lovasz_softmax(logits, labels)))
