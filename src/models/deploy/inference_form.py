"""The form in which prediction, evaluation, benchmarks and exports run a network."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from src.errors import UserError
from src.models.deploy.fold_batchnorm import fold_batchnorms
from src.models.deploy.reparameterise import merge
from src.models.video import VideoSegmenter, run_cycle

SIZE = (128, 192)  # of the image that both forms are compared on
TOLERANCE = 1e-4  # relative to the largest logit; fp32 rounding gives about 3e-6

Net = TypeVar("Net", bound=VideoSegmenter)

log = logging.getLogger(__name__)


def inference_form(net: Net, fold: bool = True, merged: bool = True) -> Net:
    """Copy a method in eval mode, its re-parameterisable blocks merged and its batch norms folded.

    Both forms are compared on every frame of a cycle before the copy is handed out. A network whose batch norms
    cannot be folded keeps them, with a warning.

    Args:
        net: on its device; stays as it is.
        fold: batch norms into the convolutions before them.
        merged: false keeps the parallel branches that training has.

    Raises:
        UserError: the network gives values that are not finite.
        RuntimeError: merging blocks changed the outputs by more than 1e-4 of the largest logit.
    """
    reference = deepcopy(net).requires_grad_(False).eval()
    run = deepcopy(reference)
    blocks = merge(run) if merged else 0
    if blocks:
        difference = _difference(reference, run)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"merging blocks of {net.method} changes its outputs by {difference:.1e} of the largest")
    folded, norms = _folded(run) if fold else (run, 0)
    log.info("inference form: %d blocks merged, %d batch norms folded", blocks, norms)
    return folded


def _folded(net: Net) -> tuple[Net, int]:
    """The network with its batch norms folded, or as it is where they cannot be; and their number."""
    fast = deepcopy(net)
    try:
        count = fold_batchnorms(fast, _run, (64, 64))
    except Exception as error:  # the forward of a plugin's network may need values, which tracing does not have
        log.warning("batch norms of %s stay: its forward cannot be traced (%s)", net.method, type(error).__name__)
        return net, 0
    if count and not (difference := _difference(net, fast)) <= TOLERANCE:
        log.warning(
            "batch norms of %s stay: folding changes its outputs by %.1e of the largest", net.method, difference
        )
        return net, 0
    return fast, count


def _run(net: nn.Module, image: Tensor) -> list[Tensor]:
    assert isinstance(net, VideoSegmenter)
    return run_cycle(net, image)


@torch.no_grad()
def _difference(reference: VideoSegmenter, other: VideoSegmenter) -> float:
    """Largest difference of logits over a cycle, relative to the largest logit."""
    device = next(reference.parameters()).device
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    found = 0.0
    for expected, actual in zip(run_cycle(reference, image), run_cycle(other, image), strict=True):
        if not bool(expected.isfinite().all()):
            raise UserError(
                "the network's outputs are not finite; give another checkpoint, of before training diverged"
            )
        largest = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
        found = max(found, float((expected - actual).abs().max()) / largest)
    return found
