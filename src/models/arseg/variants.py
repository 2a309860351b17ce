"""AR-Seg over any single-frame network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from src.errors import UserError
from src.models.arseg.fusion import CReFF
from src.models.arseg.net import ARSeg
from src.models.base import Segmenter

OPTIONS = tuple(key for key in inspect.signature(CReFF).parameters if key not in ("channels", "legacy"))


def arseg(
    network: Callable[[], nn.Module],
    lr_scale: float = 0.5,
    fusion: Mapping[str, Any] | None = None,
    legacy: Literal["logits", "log_probabilities", "coarse_logits"] | None = None,
) -> ARSeg:
    """Build AR-Seg with two branches of one architecture.

    Args:
        network: builds a `Segmenter`; called once for each branch.
        lr_scale: of images in the low branch.
        fusion: options of `CReFF`: window, mix, init, warp. Its channels are those of the network's features.
        legacy: of `ARSeg`.

    Raises:
        UserError: a network of another kind, or an unknown option of the fusion.
    """
    options = dict(fusion or {})
    unknown = [key for key in options if key not in OPTIONS]
    if unknown:
        raise UserError(f"model.fusion.{unknown[0]} is no option of the fusion; known: {', '.join(OPTIONS)}")
    high, low = network(), network()
    if not isinstance(high, Segmenter) or not isinstance(low, Segmenter):
        raise UserError(
            f"AR-Seg runs over single-frame networks, not over a {type(high).__name__}; "
            "give network=NAME of a single-frame network, such as bisenet18"
        )
    return ARSeg(high, low, CReFF(low.feature_channels, legacy=legacy is not None, **options), lr_scale, legacy)
