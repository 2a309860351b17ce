"""Options of `src.predict`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from src.errors import UserError, check_choice, check_range, check_whole
from src.inference.budget import budget_of
from src.inference.spending import Budget
from src.inference.video_results import LabelFormat
from src.video.reading.damage import Policy

MotionMode = Literal["exact", "estimate", "transcode", "auto"]


@dataclass(frozen=True)
class LiveOptions:
    """The keys of `live` in conf/predict.yaml.

    Raises:
        UserError: a value out of range.
    """

    drop: Literal["newest", "none"]
    reconnect: int | None
    health: float

    def __post_init__(self) -> None:
        check_choice("live.drop", self.drop, ("newest", "none"))
        check_whole("live.reconnect", self.reconnect, 0, null="no limit")
        valid = isinstance(self.health, int | float) and self.health > 0
        check_range(valid, "live.health", self.health, "a number of seconds above 0")


@dataclass(frozen=True)
class PredictOptions:
    """The keys of conf/predict.yaml, where each is explained.

    Raises:
        UserError: a value out of range.
    """

    checkpoint: str
    source: str | list[str]
    output: str
    max_gop: int | None
    motion: MotionMode
    on_damage: Policy
    save_labels: bool
    opacity: float
    device: str
    backend: str
    precision: str
    threads: int | None
    label_format: LabelFormat
    overlay: bool
    streams: int
    live: LiveOptions
    player: int = 0
    policy: Literal["fixed", "stream", "uniform", "adaptive"] = "fixed"
    budget: float | str | None = None
    lr_scale: float | None = None
    references: Literal["past", "both"] = "past"

    def __post_init__(self) -> None:
        check_choice("video.motion", self.motion, get_args(MotionMode))
        check_choice("on_damage", self.on_damage, get_args(Policy))
        check_choice("save_labels", self.save_labels, (True, False))
        check_choice("label_format", self.label_format, get_args(LabelFormat))
        check_choice("overlay", self.overlay, (True, False))
        check_whole("player", self.player, 0)
        check_whole("max_gop", self.max_gop, 1, null="the GOP of the training")
        check_whole("streams", self.streams, 1)
        limit = self.limit
        check_choice("references", self.references, ("past", "both"))
        if self.references == "both" and self.policy not in ("fixed", "uniform"):
            raise UserError(
                f"references=both with policy={self.policy}: frames wait for the next keyframe, whose distance "
                "policy=fixed and uniform bound; give one of them, or references=past"
            )
        if self.references == "both" and limit is not None:
            limit.check_two_sided()
        if self.policy == "stream" and self.max_gop is not None:
            raise UserError(f"policy=stream has no max_gop={self.max_gop}; leave it out, or give policy=fixed")
        if not isinstance(self.opacity, (int, float)) or not 0 <= self.opacity <= 1:
            raise UserError(f"opacity={self.opacity} is outside 0..1; 0 shows the video alone, 1 the classes alone")

    @property
    def limit(self) -> Budget | None:
        """The budget that the policy keeps.

        Raises:
            UserError: of `budget_of`.
        """
        return budget_of(self.policy, self.budget)

    @property
    def is_timed(self) -> bool:
        """Whether keyframes depend on the time that frames take."""
        return self.limit is not None and self.limit.unit == "ms"
