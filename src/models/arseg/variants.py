"""AR-Seg over any single-frame network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from src.errors import UserError, check_choice
from src.models.arseg.ablations import Concatenation, GlobalAttention
from src.models.arseg.fusion import CReFF
from src.models.arseg.location import InnerFusion, channels_at
from src.models.arseg.net import ARSeg
from src.models.base import Segmenter

FORMS = {"creff": CReFF, "global": GlobalAttention, "concatenation": Concatenation}
OPTIONS = tuple(key for key in inspect.signature(CReFF).parameters if key not in ("channels", "legacy"))


def arseg(
    network: Callable[[], nn.Module],
    lr_scale: float = 0.5,
    fusion: Mapping[str, Any] | None = None,
    legacy: Literal["logits", "log_probabilities", "coarse_logits"] | None = None,
    share_classifier: bool = True,
) -> ARSeg:
    """Build AR-Seg with two branches of one architecture.

    Args:
        network: builds a `Segmenter`; called once for each branch.
        lr_scale: of images in the low branch.
        fusion: options of `CReFF`: window, mix, init, warp, grouped. Its channels are those of the network's features.
            For ablations also `form`, one of `FORMS`, and `location`, a module of the network whose output is fused.
        legacy: of `ARSeg`.
        share_classifier: of `ARSeg`.

    Raises:
        UserError: a network of another kind, or an unknown option of the fusion.
    """
    options = dict(fusion or {})
    form, location = options.pop("form", "creff"), options.pop("location", None)
    check_choice("model.fusion.form", form, FORMS)
    unknown = [key for key in options if key not in OPTIONS]
    if unknown:
        raise UserError(f"model.fusion.{unknown[0]} is no option of the fusion; known: {', '.join(OPTIONS)}")
    high, low = network(), network()
    if not isinstance(high, Segmenter) or not isinstance(low, Segmenter):
        raise UserError(
            f"AR-Seg runs over single-frame networks, not over a {type(high).__name__}; "
            "give network=NAME of a single-frame network, such as bisenet18"
        )
    channels = low.feature_channels if location is None else channels_at(low, location)
    fused = FORMS[form](channels, legacy=legacy is not None, **options)
    if location is None:
        return ARSeg(high, low, fused, lr_scale, legacy, share_classifier)
    if legacy is not None:
        raise UserError(f"model.fusion.location={location}: the official code (legacy) fuses before the classifier")
    return InnerFusion(high, low, fused, location, lr_scale=lr_scale, share_classifier=share_classifier)
