"""Command `src.motion`: the motion of a video, drawn over it and as numbers."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import get_args

import numpy as np
from omegaconf import DictConfig

from src.cli.config import plain
from src.errors import UserError, check_choice
from src.inference.device import choose_threads
from src.inference.options import MotionMode
from src.inference.output_folder import atomic_output_folder
from src.instantiate import options_of
from src.video.motion.draw import STYLES, draw_motion
from src.video.motion.field import MotionChain, rasterise
from src.video.reading.damage import Policy
from src.video.reading.decode import Video
from src.video.types import Frame
from src.video.vectors.exported import NO_ROWS
from src.video.writing.retimed import RetimedVideo

TARGETS = ("previous", "key")


@dataclass(frozen=True)
class MotionOptions:
    """The keys of conf/motion.yaml, where each is explained.

    Raises:
        UserError: a value out of range.
    """

    source: str
    motion: MotionMode
    on_damage: Policy
    to: str
    style: str
    longest: float
    threads: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.source, str):
            raise UserError(f"source={self.source} names several videos; give one")
        for key, value, choices in (
            ("video.motion", self.motion, get_args(MotionMode)),
            ("to", self.to, TARGETS),
            ("style", self.style, STYLES),
            ("on_damage", self.on_damage, get_args(Policy)),
        ):
            check_choice(key, value, choices)
        if self.longest is None or self.longest <= 0:
            raise UserError(f"longest={self.longest} is not positive; give a length in pixels")


def draw_video_motion(config: DictConfig) -> None:
    """Write what a composed conf/motion.yaml describes.

    Raises:
        UserError: see `MotionOptions`, `atomic_output_folder` and `export_motion`.
    """
    given = plain(config)
    output = given.pop("output")
    with atomic_output_folder(Path(output)) as folder:
        count = export_motion(options_of(MotionOptions, given, **given.pop("video")), folder)
    print(f"{count} frames: {output}/motion.mp4, {output}/vectors.npz")


def export_motion(options: MotionOptions, folder: Path) -> int:
    """Write motion.mp4 and vectors.npz into an existing folder; return the number of frames.

    vectors.npz has an array (N, 6) float32 per frame with motion, named by the frame's index: rows
    [x0, y0, w, h, dx, dy] in pixels, x_previous = x + dx, as of `Frame.vectors`.

    Raises:
        UserError: as of `Video`.
    """
    threads = choose_threads(options.threads)
    video = Video(options.source, options.motion, options.on_damage, threads)
    follow, count = MotionChain(), 0
    with (
        RetimedVideo(folder / "motion.mp4", video, threads) as drawn,
        _Archive(folder / "vectors.npz") as archive,
    ):
        for frame in video:
            archive.add(frame)
            hop = NO_ROWS if frame.vectors is None else frame.vectors
            if frame.damaged:
                follow.reset()
            motion = follow.update(frame) if options.to == "key" else rasterise(hop, *frame.image.shape[:2])
            drawn.write(draw_motion(frame.image, motion, options.style, options.longest), frame.pts)
            count += 1
    return count


class _Archive:
    """An .npz that grows frame by frame, so that the length of a video is not limited by memory."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)

    def add(self, frame: Frame) -> None:
        if frame.vectors is not None:
            with self._zip.open(f"{frame.index:06d}.npy", "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(frame.vectors))

    def __enter__(self) -> _Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
