"""Lovász-softmax: a convex surrogate of the mean intersection over union (Berman et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.labels import IGNORE
from src.distributed import all_reduce_sum, global_mean
from src.losses.segmentation import CrossEntropy

BINS = 1024  # of errors 0..1; the loss differs from that of sorted errors by 1 / BINS at most


class CrossEntropyAndLovasz(CrossEntropy):
    """Sum of `CrossEntropy`, whose arguments and errors it has, and `lovasz_softmax`."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar of logits (B, K, H, W) and labels (B, H, W)."""
        return super().forward(logits, labels) + lovasz_softmax(logits, labels)


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes that occur of the Lovász extension of 1 - IoU, on the batch of all processes together.

    The paper sorts the errors of all pixels. Here they are counted in bins, so that the cost is linear in the pixels
    and processes exchange a histogram; pixels of one bin share its part of the gradient. Without any labelled pixel
    the loss is a zero that reaches every logit.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W).

    Returns:
        A scalar, in the mean over processes from 0 to 1.
    """
    classes, none = logits.shape[1], logits.shape[1] * BINS
    ignored = (labels == IGNORE)[:, None]
    true = labels[:, None].masked_fill(ignored, 0)
    probabilities = logits.float().masked_fill(ignored, 0).softmax(1)
    errors = probabilities.scatter(1, true, 1 - probabilities.gather(1, true))
    cells = (errors.detach() * BINS).int().clamp_(0, BINS - 1)
    cells += BINS * torch.arange(classes, dtype=torch.int32, device=cells.device)[:, None, None]
    cells.masked_fill_(ignored, none)
    counts = torch.stack([_counted(cells, none + 1), _counted(cells.gather(1, true), none + 1)])
    slopes, occur = _slopes(*all_reduce_sum(counts)[:, :none].view(2, classes, BINS))
    return global_mean((errors * F.pad(slopes.flatten(), (0, 1))[cells]).sum(), occur.sum())


def _counted(cells: Tensor, length: int) -> Tensor:
    """Count each number below `length`: `bincount`, for which the host would wait for a GPU."""
    ones = torch.ones((), dtype=torch.long, device=cells.device).expand(cells.numel())
    return cells.new_zeros(length, dtype=torch.long).index_add_(0, cells.flatten(), ones)


def _slopes(counts: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives (K, bins) of the loss by the error of a pixel, and which classes (K,) occur.

    Args:
        counts: (K, bins), of pixels by their error; integers, whose sums are exact in any order.
        positive: those of the class among them.
    """
    wrong, missed = counts.flip(-1).cumsum(-1), positive.flip(-1).cumsum(-1)  # among the pixels with the largest errors
    labelled = missed[:, -1:]
    intersections, unions = labelled - missed, labelled + wrong - missed
    before, union_before = (torch.cat([labelled, x[:, :-1]], 1) for x in (intersections, unions))
    steps = (before * unions - intersections * union_before) / (union_before * unions).clamp(min=1)  # of 1 - IoU
    occur = labelled[:, 0] > 0
    return steps.flip(-1) / counts.clamp(min=1) * occur[:, None], occur
