"""Losses of features and logits to those of a teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mean_squared_error(features: Tensor, target: Tensor) -> Tensor:
    """As `F.mse_loss` in float32, but its gradient has the features' memory format, as all has that is added to it."""
    return (features.float() - target.float()).square().sum() / target.numel()


def channel_divergence(features: Tensor, target: Tensor) -> Tensor:
    """KL(target || features) of distributions over channels, mean over positions, in nats."""
    guess, expected = features.float().log_softmax(1), target.float().log_softmax(1)
    return F.kl_div(guess, expected, reduction="none", log_target=True).sum(1).mean()


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits (B, K, H, W) to the class distributions of a teacher's, mean over pixels, in nats."""
    return F.cross_entropy(logits.float(), target.float().softmax(1))


def label_free_losses(features: Tensor, target: Tensor, logits: Tensor, target_logits: Tensor) -> dict[str, Tensor]:
    """Terms of feature similarity training without labels: nothing but the teacher's output for the same frame.

    Args:
        features: (B, C, h, w) of the student.
        target: those of the teacher.
        logits: (B, K, h', w') of the student.
        target_logits: those of the teacher.

    Returns:
        "feature", the mean squared error of the features, and "soft", the cross-entropy to the teacher's class
        distributions in nats.
    """
    return {"feature": mean_squared_error(features, target), "soft": soft_cross_entropy(logits, target_logits)}


FEATURE_LOSSES = {"mse": mean_squared_error, "kl": channel_divergence}
