"""Grouped knowledge distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import UserError
from src.models.base import resize
from src.models.tdnet.net import ClipOutput

DIRECTIONS = ("forward", "reverse")


class GroupedDistillation(nn.Module):
    """Fused logits learn from the whole teacher, a path's own logits from the teacher's group for that path.

    The paper writes the divergence as KL(student || teacher), "reverse"; the official code computes
    KL(teacher || student), "forward". Temperature 1, all pixels, ignored ones too, at feature resolution.

    Args:
        direction: "forward" or "reverse".
        fused_weight: factor of the first term, 1 in the official code.
        own_weight: factor of the second, 0.5 in the official code.

    Raises:
        UserError: unknown direction.
    """

    def __init__(self, direction: str = "forward", fused_weight: float = 1.0, own_weight: float = 0.5) -> None:
        super().__init__()
        if direction not in DIRECTIONS:
            raise UserError(f"distillation direction '{direction}' is unknown; take one of {', '.join(DIRECTIONS)}")
        self.direction, self.fused_weight, self.own_weight = direction, fused_weight, own_weight

    def forward(self, student: ClipOutput, whole: Tensor, group: Tensor) -> dict[str, Tensor]:
        """Weighted scalars "distil_fused" and "distil_own" against teacher logits (B, K, h, w)."""
        return {
            "distil_fused": self.fused_weight * pixel_divergence(student.fused, whole, self.direction),
            "distil_own": self.own_weight * pixel_divergence(student.own, group, self.direction),
        }


def pixel_divergence(student: Tensor, teacher: Tensor, direction: str) -> Tensor:
    """KL divergence of class distributions given by logits (B, K, h, w), mean over pixels, in nats.

    The teacher's map is resized to the student's; its gradient is cut.
    """
    size = (int(student.shape[-2]), int(student.shape[-1]))
    target = resize(teacher.detach(), size, align_corners=True).float().log_softmax(1)
    guess = student.float().log_softmax(1)
    expected, under = (target, guess) if direction == "forward" else (guess, target)
    return F.kl_div(under, expected, reduction="none", log_target=True).sum(1).mean()
