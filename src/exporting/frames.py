"""Frames of videos and images as a method's input, one stream at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from src.checkpoints.load import LoadedModel
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.models.video import FrameInput, VideoSegmenter
from src.video.reading.decode import MotionSource, Video

MOST_FRAMES = 400  # of a video: 32 keyframes at the usual GOP


class _Inputs(VideoSegmenter):
    """Hands back the input of each frame as the state after it."""

    def __init__(self, uses_motion: bool) -> None:
        super().__init__()
        self.method, self.num_classes, self.uses_motion = "inputs", 0, uses_motion

    def init_state(self) -> None:
        """No frame."""

    def step(self, frame: FrameInput, state: object) -> tuple[torch.Tensor, FrameInput]:
        """The image as logits, and the frame."""
        return frame.image, frame


def input_runner(loaded: LoadedModel) -> FrameRunner:
    """Return a runner whose `advance` gives the `FrameInput` that the network of a checkpoint would get."""
    cpu = torch.device("cpu")
    return FrameRunner(_Inputs(loaded.network.uses_motion), loaded.normalisation, cpu, loaded.fit)


def video_frames(path: str | Path, loaded: LoadedModel, motion: MotionSource = "auto") -> Iterator[FrameInput]:
    """The first frames of a video, with motion to their keyframe where the network of a checkpoint uses it.

    Raises:
        UserError: a video that cannot be read.
    """
    runner = input_runner(loaded)
    video = Video(path, motion if runner.uses_motion else "none", remedy="copy it again, or give another")
    keyed = KeyedMotion(loaded.gop, video.info.all_intra)
    for frame in islice(video, MOST_FRAMES):
        to_key = keyed.update(frame) if runner.uses_motion else None
        yield runner.advance(frame.image, None, to_key)
