"""Small films, networks and checkpoints for the tests of streaming and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from src.data.labels import ClassSet
from src.models.base import Segmenter
from src.models.registry import build, register
from src.models.video import FrameCycle, FrameInput, VideoSegmenter
from src.video.reading.colour import from_rgb
from src.video.types import CodecSettings
from src.video.writing.encode import encode

CLASSES = ClassSet(("road", "sky", "tree", "car"), ((128, 64, 128), (70, 130, 180), (107, 142, 35), (0, 0, 142)))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
TRAINING_GOP = 5
Pictures = list[NDArray[np.uint8]]


class TinySegmenter(Segmenter):
    """One strided convolution and a classifier."""

    def __init__(self, num_classes: int = len(CLASSES), width: int = 8) -> None:
        super().__init__()
        self.feature_channels, self.num_classes = width, num_classes
        self.body = nn.Sequential(nn.Conv2d(3, width, 5, 4, 2), nn.ReLU())
        self.head = nn.Conv2d(width, num_classes, 1)

    @property
    def classifier(self) -> nn.Module:
        return self.head

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.body(x), {}


class Averager(VideoSegmenter):
    """A method with a state: classes by the brightness of the mean of all images so far."""

    method = "averager"

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = len(CLASSES)
        self.levels = nn.Parameter(torch.linspace(-2, 2, len(CLASSES)).view(1, -1, 1, 1))

    def cycle(self, gop: int) -> FrameCycle:
        return FrameCycle(("key", "nonkey"), ("nonkey",))

    def init_state(self) -> tuple[int, Any]:
        return 0, 0.0

    def step(self, frame: FrameInput, state: tuple[int, Any]) -> tuple[Tensor, tuple[int, Any]]:
        count, total = state[0] + 1, state[1] + frame.image
        return -((total / count).mean(1, keepdim=True) - self.levels).abs(), (count, total)


register("tiny_segmenter", TinySegmenter)
register("averager", Averager)
IMAGE: dict[str, Any] = {"name": "tiny_segmenter", "arguments": {}}
AR: dict[str, Any] = {"name": "arseg", "arguments": {"network": IMAGE, "lr_scale": 0.5}}
STATE: dict[str, Any] = {"name": "averager", "arguments": {}}


def save_checkpoint(
    path: Path, network: dict[str, Any], lr_scale: float = 0.5, seed: int = 0, fit: dict[str, int] | None = None
) -> Path:
    """A checkpoint of a randomly initialised network, as `src.checkpoints.load` reads it."""
    torch.manual_seed(seed)
    state = {f"net.{key}": value for key, value in build(**network).state_dict().items()}
    torch.save({"metadata": tiny_metadata(network, lr_scale=lr_scale, seed=seed, fit=fit), "state_dict": state}, path)
    return path


def tiny_metadata(network: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Metadata as `src.train` writes it."""
    return {
        "format": 2,
        "network": network,
        "phase": "only",
        "lr_scale": 1.0,
        "classes": CLASSES.as_dict(),
        "normalisation": {"mean": list(MEAN), "std": list(STD)},
        "fit": None,
        "video": {
            "codec": "h264",
            "gop": TRAINING_GOP,
            "crf": 23,
            "bitrate": None,
            "preset": "fast",
            "motion": "exact",
        },
        "seed": 0,
        "data": {"name": "street", "groups": {}, "options": {}},
        "config": {},
        **changes,
    }


def pictures(count: int, height: int = 48, width: int = 64) -> Pictures:
    """A smooth texture that moves by (2, 1) pixels per frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8 + 20, width // 8 + 20, 3), np.uint8)
    fine = coarse.repeat(8, 0).repeat(8, 1)
    return [np.ascontiguousarray(fine[i : i + height, 2 * i : 2 * i + width]) for i in range(count)]


def exact_film(path: Path, count: int, gop: int, height: int = 48, width: int = 64) -> Path:
    """A film with exact vectors and an I frame every `gop` frames."""
    encode(pictures(count, height, width), path, CodecSettings("h264", gop, 25, crf=20, preset="veryfast"))
    return path


def free_film(path: Path, times: Sequence[int], time_base: Fraction, params: str = "bframes=2:b-adapt=0") -> Path:
    """A film of 48x64 pictures at `times` in units of `time_base`, by default with B frames."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"x264-params": f"keyint=250:{params}"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        stream.thread_count = 1
        for picture, time in zip(pictures(len(times)), times, strict=True):
            frame = from_rgb(picture)
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
