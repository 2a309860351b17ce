"""The form in which prediction, evaluation, benchmarks and exports run a network."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.models.deploy.fold_batchnorm import fold_batchnorms
from src.models.deploy.reparameterise import TOLERANCE, merge
from src.models.video import VideoSegmenter, run_cycle

SIZE = (128, 192)  # of the image that both forms are compared on

Net = TypeVar("Net", bound=VideoSegmenter)

log = logging.getLogger(__name__)


def inference_form(net: Net, fold: bool = True) -> Net:
    """Copy a method in eval mode, its re-parameterisable blocks merged and its batch norms folded.

    Both forms are compared on every frame of a cycle before the copy is handed out.

    Args:
        net: on its device; stays as it is.
        fold: batch norms into the convolutions before them.

    Raises:
        UserError: the network gives values that are not finite.
        RuntimeError: the two forms differ by more than 1e-4 of the largest logit.
    """
    reference = deepcopy(net).requires_grad_(False).eval()
    fast = deepcopy(reference)
    merged = merge(fast, fold_batchnorm=False)
    folded = fold_batchnorms(fast, _run, (64, 64)) if fold else 0
    if merged or folded:
        _check_equal(reference, fast)
        log.info("inference form: %d blocks merged, %d batch norms folded", merged, folded)
    return fast


def _run(net: nn.Module, image: Tensor) -> list[Tensor]:
    assert isinstance(net, VideoSegmenter)
    return run_cycle(net, image)


@torch.no_grad()
def _check_equal(reference: VideoSegmenter, fast: VideoSegmenter) -> None:
    device = next(reference.parameters()).device
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    for expected, actual in zip(run_cycle(reference, image), run_cycle(fast, image), strict=True):
        if not bool(expected.isfinite().all()):
            raise UserError(
                "the network's outputs are not finite: its training diverged; give an earlier checkpoint, or train "
                "with a lower learning rate"
            )
        difference = ((expected - actual).abs().max() / expected.abs().max()).item()
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"the inference form of {reference.method} differs from its training form by {difference:.1e} of the "
                f"largest logit, more than {TOLERANCE:.0e}; check the batch norm statistics"
            )
