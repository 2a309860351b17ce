"""Losses on logits, and their sum over the main and the auxiliary outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.data.labels import IGNORE
from src.distributed import all_reduce_sum, global_mean
from src.errors import UserError, check_range
from src.ops.resize import resize, size_of, to_float_nchw


class CrossEntropy(nn.Module):
    """Pixel-wise cross-entropy, averaged over the labelled pixels of all processes; zero where there is none.

    Args:
        weights: one per class, or None for equal weights.

    Raises:
        UserError: a negative weight.
    """

    weights: Tensor | None

    def __init__(self, weights: list[float] | None = None) -> None:
        super().__init__()
        check_range(not weights or min(weights) >= 0, "class weights", weights, "0 or more for each class")
        self.register_buffer("weights", torch.tensor(weights) if weights else None)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar of logits (B, K, H, W) and labels (B, H, W).

        Raises:
            UserError: not as many weights as classes.
        """
        if self.weights is not None and len(self.weights) != logits.shape[1]:
            raise UserError(
                f"the loss has {len(self.weights)} class weights for {logits.shape[1]} classes; give one each"
            )
        summed = F.cross_entropy(logits, labels, self.weights, ignore_index=IGNORE, reduction="sum")
        return global_mean(summed, all_reduce_sum((labels != IGNORE).sum()))


class Presence(nn.Module):
    """Binary cross-entropy of which classes occur in an image (official AR-Seg code, CamVid PSPNet-18)."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar of image-level logits (B, K) and labels (B, H, W)."""
        classes = torch.arange(logits.shape[1], device=labels.device)
        occurs = (labels.flatten(1)[:, None] == classes[:, None]).any(-1)
        return F.binary_cross_entropy_with_logits(logits, occurs.to(logits.dtype))


class SegmentationLoss(nn.Module):
    """Main loss plus weighted losses of auxiliary outputs, at label resolution.

    Args:
        main: criterion of the main logits.
        auxiliary: criterion of each auxiliary output, by the name the network gives it.
        weight: factor of the auxiliary losses.
        align_corners: of the resize to label size; PSPNet's and TDNet's logits are aligned.
    """

    def __init__(
        self,
        main: nn.Module,
        auxiliary: dict[str, nn.Module] | None = None,
        weight: float = 1.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.main = main
        self.auxiliary = nn.ModuleDict(auxiliary or {})
        self.weight, self.align_corners = weight, align_corners

    def forward(self, logits: Tensor, auxiliary: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Scalar of main logits (B, K, h, w), auxiliary outputs by name and labels (B, H, W)."""
        loss = self.of_main(logits, labels)
        for name, criterion in self.auxiliary.items():
            loss = loss + self.weight * criterion(self._at_label_size(auxiliary[name], labels), labels)
        return loss

    def of_main(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar of main logits (B, K, h, w) alone."""
        loss: Tensor = self.main(self._at_label_size(logits, labels), labels)
        return loss

    def _at_label_size(self, output: Tensor, labels: Tensor) -> Tensor:
        if output.ndim == 2:  # of an image-level head
            return output
        return resize(to_float_nchw(output), size_of(labels), self.align_corners)
