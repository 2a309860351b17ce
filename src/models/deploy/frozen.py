"""Inference-optimised copy of a frozen teacher, for training."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from src.models.base import Segmenter
from src.models.deploy.activated_conv import SIZE, activate_in_convolutions, features_of
from src.models.deploy.fold_batchnorm import fold_batchnorms

log = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of the largest feature; fp32 rounding gives up to 1e-4 in untrained networks


def frozen_features(net: Segmenter) -> Callable[[Tensor], Tensor]:
    """The network's `features` without gradients, from a copy that is faster; from itself where the two differ.

    Batch norms are folded into convolutions, and on CPUs activations are computed by them, too.

    Args:
        net: in eval mode.
    """
    fast = copy.deepcopy(net).requires_grad_(False)
    fold_batchnorms(fast, features_of, SIZE)
    device = next(fast.parameters()).device
    if device.type == "cpu":
        activate_in_convolutions(fast)
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected, actual = net.features(image), fast.features(image)
    difference = float((expected - actual).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        log.warning("the frozen %s runs as it is: its fast form differs by %.1e", type(net).__name__, difference)
        return net.features
    return fast.features
