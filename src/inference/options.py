"""Options of `src.predict`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from src.errors import UserError, check_range
from src.inference.player_record import check_frames
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
        _check_choice("live.drop", self.drop, ("newest", "none"))
        valid = self.reconnect is None or (isinstance(self.reconnect, int) and self.reconnect >= 0)
        check_range(valid, "live.reconnect", self.reconnect, "a number of attempts from 0 up, or null for no limit")
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

    def __post_init__(self) -> None:
        _check_choice("video.motion", self.motion, get_args(MotionMode))
        _check_choice("on_damage", self.on_damage, get_args(Policy))
        _check_choice("save_labels", self.save_labels, (True, False))
        _check_choice("label_format", self.label_format, get_args(LabelFormat))
        _check_choice("overlay", self.overlay, (True, False))
        check_frames(self.player)
        _check_count("max_gop", self.max_gop, "the training GOP")
        check_range(isinstance(self.streams, int) and self.streams >= 1, "streams", self.streams, "a number from 1 up")
        if not isinstance(self.opacity, (int, float)) or not 0 <= self.opacity <= 1:
            raise UserError(f"opacity={self.opacity} is outside 0..1; 0 shows the video alone, 1 the classes alone")


def _check_choice(key: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key}={value} is not one of {', '.join(str(c) for c in choices)}; choose one of these")


def _check_count(key: str, value: Any, default: str) -> None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise UserError(f"{key}={value} is not a number from 1 up; give one, or null for {default}")
