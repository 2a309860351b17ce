"""Online hard example mining: cross-entropy over the hardest pixels of a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.data.labels import IGNORE
from src.distributed import all_gather_cat, all_reduce_sum, global_mean
from src.errors import UserError


class OhemCrossEntropy(nn.Module):
    """Mean cross-entropy of the pixels whose true class has a probability below `threshold`.

    At least the `min_kept` hardest pixels of the batch of all processes together are taken (the official codes
    count in each process). Papers state the rule in two ways: the k-th smallest probability against a threshold
    (RDRNet, DDRNet, PIDNet: 0.9 and 131072), or the k-th largest loss against minus its logarithm (BiSeNet,
    TDNet: 0.7 and a 16th of the pixels). Both select the same pixels, but for ties; here pixels as hard as the
    k-th share the places that are left. Without any labelled pixel the loss is a zero that reaches every
    logit, so that distributed training does not hang.

    Args:
        threshold: probability, in (0, 1).
        min_kept: a number of pixels if an integer, a fraction of them if a float; never more than there are.
        weights: one per class, or None for equal weights. They scale the loss of a pixel, neither the divisor
            of the mean nor the selection (official RDRNet code).
        count_ignored: ignored pixels belong to the batch, with loss 0, where the fraction is taken and the
            hardest are chosen (official TDNet code).

    Raises:
        UserError: `threshold` or `min_kept` is out of range, or there are not as many weights as classes.
    """

    weights: Tensor | None

    def __init__(
        self,
        threshold: float,
        min_kept: int | float,
        weights: list[float] | None = None,
        count_ignored: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise UserError(f"threshold={threshold} is out of range; give a probability between 0 and 1")
        if min_kept < 0 or (isinstance(min_kept, float) and min_kept > 1):
            raise UserError(f"min_kept={min_kept} is out of range; give a number of pixels or a fraction up to 1.0")
        self.threshold, self.min_kept, self.count_ignored = threshold, min_kept, count_ignored
        self.register_buffer("weights", torch.tensor(list(weights)) if weights else None)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar of logits (B, K, H, W) and labels (B, H, W)."""
        valid = labels != IGNORE
        plain = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
        population = torch.ones_like(valid) if self.count_ignored else valid
        kept, count = self._kept(plain.detach().masked_fill(~population, -math.inf), population.sum())
        return global_mean((kept * plain * self._pixel_weights(labels, logits.shape[1])).sum(), count)

    def _pixel_weights(self, labels: Tensor, classes: int) -> Tensor | float:
        if self.weights is None:
            return 1.0
        if len(self.weights) != classes:
            raise UserError(f"{len(self.weights)} class weights do not fit {classes} classes; give one per class")
        return self.weights[torch.where(labels == IGNORE, 0, labels)]

    def _kept(self, losses: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the share of each loss (B, H, W) that is kept, 0..1, and its sum over all processes.

        Args:
            losses: of pixels, minus infinity where they do not belong to the batch.
            pixels: number of those that do.
        """
        hard = losses > -math.log(self.threshold)
        numbers = all_reduce_sum(torch.stack([hard.sum(), pixels]))
        hard_pixels, population = (int(n) for n in numbers)
        share = isinstance(self.min_kept, float)
        least = min(int(population * self.min_kept) if share else int(self.min_kept), population)
        if hard_pixels >= least:
            return hard.float(), numbers[0]
        limit = _largest(losses.flatten(), least)
        above, tied = losses > limit, losses == limit
        harder, equal = all_reduce_sum(torch.stack([above.sum(), tied.sum()]))
        return above + tied * ((least - harder) / equal), torch.tensor(least, device=losses.device)


def _largest(losses: Tensor, k: int) -> Tensor:
    """The k-th largest of the losses (N,) of all processes, which have at least k together."""
    here = losses.topk(min(k, len(losses)), sorted=False).values
    everywhere = all_gather_cat(F.pad(here, (0, k - len(here)), value=-math.inf))
    return everywhere.topk(k, sorted=False).values.min()
