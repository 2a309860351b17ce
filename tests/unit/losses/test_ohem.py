from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from src.errors import UserError
from src.losses.ohem import OhemCrossEntropy

CLASSES = 4


def batch(confidence: float, ignored: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that favour the label by `confidence`, and labels of which a share is ignored."""
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES, (2, 12, 17))
    logits = torch.randn(2, CLASSES, 12, 17) + confidence * F.one_hot(labels, CLASSES).permute(0, 3, 1, 2)
    return logits, torch.where(torch.rand(labels.shape) < ignored, 255, labels)


def by_probability(logits, labels, threshold, min_kept, weights=None):
    """The rule as the RDRNet code states it."""
    losses = F.cross_entropy(logits, labels, weights, ignore_index=255, reduction="none")[labels != 255]
    p = logits.softmax(1).gather(1, labels.clamp(max=CLASSES - 1)[:, None])[:, 0][labels != 255]
    limit = max(p.sort().values[min(min_kept, len(p) - 1)].item(), threshold)
    return losses[p < limit].mean()


def by_loss(losses, threshold, least):
    """The rule as the BiSeNet and TDNet codes state it."""
    ordered = losses.sort(descending=True).values
    limit = -math.log(threshold)
    return ordered[ordered > limit].mean() if ordered[least] > limit else ordered[:least].mean()


@pytest.mark.parametrize("confidence", [0.0, 3.0, 8.0])
@pytest.mark.parametrize("min_kept", [10, 150])
def test_rule_of_rdrnet(confidence, min_kept):
    logits, labels = batch(confidence)
    loss = OhemCrossEntropy(0.9, min_kept)(logits, labels)
    torch.testing.assert_close(loss, by_probability(logits, labels, 0.9, min_kept))


@pytest.mark.parametrize("confidence", [0.0, 3.0, 8.0])
def test_rule_of_bisenet(confidence):
    logits, labels = batch(confidence)
    losses = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")[labels != 255]
    loss = OhemCrossEntropy(0.7, 1 / 16)(logits, labels)
    torch.testing.assert_close(loss, by_loss(losses, 0.7, len(losses) // 16))


@pytest.mark.parametrize("ignored", [0.2, 0.98])
@pytest.mark.parametrize("confidence", [0.0, 8.0])
def test_rule_of_tdnet_counts_ignored_pixels(confidence, ignored):
    logits, labels = batch(confidence, ignored)
    losses = F.cross_entropy(logits, labels, ignore_index=255, reduction="none").flatten()
    loss = OhemCrossEntropy(0.7, 1 / 16, count_ignored=True)(logits, labels)
    torch.testing.assert_close(loss, by_loss(losses, 0.7, len(losses) // 16))


def test_class_weights_change_losses_but_not_the_selection():
    logits, labels = batch(3.0)
    weights = [0.1, 1.0, 5.0, 2.0]
    loss = OhemCrossEntropy(0.9, 100, weights)(logits, labels)
    torch.testing.assert_close(loss, by_probability(logits, labels, 0.9, 100, torch.tensor(weights)))


def test_only_kept_pixels_get_gradients():
    logits, labels = batch(8.0, ignored=0.0)
    logits.requires_grad_()
    OhemCrossEntropy(0.9, 7)(logits, labels).backward()
    hard = (F.cross_entropy(logits, labels, reduction="none") > -math.log(0.9)).sum()
    assert (logits.grad.abs().sum(1) > 0).sum() == max(7, int(hard))


def test_fewer_labelled_pixels_than_asked_for_keeps_all_of_them():
    logits, labels = batch(8.0, ignored=0.99)
    assert 0 < (labels != 255).sum() < 131072
    loss = OhemCrossEntropy(0.9, 131072)(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, ignore_index=255))


@pytest.mark.parametrize("count_ignored", [False, True])
@pytest.mark.parametrize("min_kept", [131072, 1 / 16])
def test_all_ignored_crop_gives_a_zero_with_gradients(min_kept, count_ignored):
    logits, labels = batch(0.0)
    weight = torch.ones((), requires_grad=True)
    loss = OhemCrossEntropy(0.9, min_kept, [1.0] * CLASSES, count_ignored)(weight * logits, labels.fill_(255))
    loss.backward()
    assert loss.item() == 0
    assert weight.grad is not None
    assert weight.grad.item() == 0


@pytest.mark.parametrize("arguments", [(0.0, 1), (1.0, 1), (0.7, -1), (0.7, 1.5)])
def test_values_out_of_range(arguments):
    with pytest.raises(UserError, match="out of range"):
        OhemCrossEntropy(*arguments)


def test_class_weights_must_fit_the_classes():
    logits, labels = batch(0.0)
    with pytest.raises(UserError, match="19 class weights do not fit 4 classes"):
        OhemCrossEntropy(0.9, 10, [1.0] * 19)(logits, labels)
