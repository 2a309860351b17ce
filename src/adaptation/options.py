"""Options of adaptation, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from src.data.transforms import check_crop
from src.errors import check_choice, check_range, check_whole
from src.inference.options import MotionMode
from src.video.reading.damage import Policy


@dataclass(frozen=True)
class Learning:
    """The keys of `learning` in conf/adapt.yaml, where each is explained.

    Attributes:
        group: of these keys in the configuration, for messages.

    Raises:
        UserError: a value out of its range.
    """

    lr: float
    batch_size: int
    crop: Sequence[int]
    scale: Sequence[float]
    flip: float
    feature_weight: float
    soft_weight: float
    share: float
    precision: str
    group: str = "learning"

    def __post_init__(self) -> None:
        group = self.group
        check_range(self.lr > 0, f"{group}.lr", self.lr, "a number above 0")
        check_whole(f"{group}.batch_size", self.batch_size, 1)
        check_crop(self.crop, self.scale, group)
        check_range(0 <= self.flip <= 1, f"{group}.flip", self.flip, "a probability from 0 to 1")
        weights = self.feature_weight, self.soft_weight
        check_range(min(weights) >= 0 < max(weights), f"{group}.feature_weight, {group}.soft_weight", weights,
                    "numbers from 0 up, one of them above 0")  # fmt: skip
        check_range(0 < self.share <= 1, f"{group}.share", self.share, "a number above 0, up to 1")
        check_choice(f"{group}.precision", self.precision, ("auto", "bf16", "fp32"))


@dataclass(frozen=True)
class AdaptOptions:
    """The keys of conf/adapt.yaml, where each is explained.

    Raises:
        UserError: a value out of its range.
    """

    checkpoint: str
    source: str | list[str]
    output: str
    steps: int
    seed: int
    held_out: bool
    score_frames: int
    save_every: int
    max_gop: int | None
    motion: MotionMode
    on_damage: Policy
    device: str
    threads: int | None
    learning: Learning

    def __post_init__(self) -> None:
        for key in ("steps", "score_frames", "save_every"):
            check_whole(key, getattr(self, key), 1)
        check_choice("video.motion", self.motion, get_args(MotionMode))
        check_choice("on_damage", self.on_damage, get_args(Policy))
        check_whole("max_gop", self.max_gop, 2, null="the GOP of the training")
        check_whole("seed", self.seed, 0)
