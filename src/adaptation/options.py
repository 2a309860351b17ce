"""Options of adaptation, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from src.data.transforms import check_crop
from src.errors import UserError, check_range
from src.inference.options import MotionMode
from src.video.reading.damage import Policy


@dataclass(frozen=True)
class Learning:
    """The keys of `learning` in conf/adapt.yaml, where each is explained.

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

    def __post_init__(self) -> None:
        check_range(self.lr > 0, "learning.lr", self.lr, "a number above 0")
        whole = isinstance(self.batch_size, int) and self.batch_size >= 1
        check_range(whole, "learning.batch_size", self.batch_size, "a whole number from 1 up")
        check_crop(self.crop, self.scale, "learning")
        check_range(0 <= self.flip <= 1, "learning.flip", self.flip, "a probability from 0 to 1")
        weights = self.feature_weight, self.soft_weight
        check_range(min(weights) >= 0 < max(weights), "learning.feature_weight, learning.soft_weight", weights,
                    "numbers from 0 up, one of them above 0")  # fmt: skip
        check_range(0 < self.share <= 1, "learning.share", self.share, "a number above 0, up to 1")
        known = ("auto", "bf16", "fp32")
        check_range(self.precision in known, "learning.precision", self.precision, f"one of {', '.join(known)}")


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
            value = getattr(self, key)
            check_range(isinstance(value, int) and value >= 1, key, value, "a whole number from 1 up")
        for key, value, choices in (
            ("video.motion", self.motion, get_args(MotionMode)),
            ("on_damage", self.on_damage, get_args(Policy)),
        ):
            if value not in choices:
                raise UserError(f"{key}={value} is not one of {', '.join(choices)}; choose one of these")
        valid = self.max_gop is None or (isinstance(self.max_gop, int) and self.max_gop >= 2)
        check_range(valid, "max_gop", self.max_gop, "2 or more, or null for the GOP of the training")
        check_range(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "a whole number from 0 up")
