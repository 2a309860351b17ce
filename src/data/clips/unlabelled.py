"""Videos without labels beside labelled clips: coded as these are, and drawn with them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from src.data.clips.cache import ClipJob
from src.data.clips.dataset import ClipDataset
from src.data.clips.recipes import VideoClipJob
from src.data.datasets.base import LabelledVideo
from src.data.datasets.files import file_fingerprint, reject_or_skip
from src.data.images import ImageArray
from src.data.labels import IGNORE
from src.data.sampling import SampleIndex, as_sample_index
from src.data.transforms import FitSize
from src.errors import UserError
from src.video.reading.random_access import count_frames, read_frames
from src.video.reading.sources import video_files

KEY = "data.unlabelled"
FORMAT = 1  # raise when the same file gives other frames
CODINGS = 3  # of each video, whose keyframes lie a third of a GOP apart


@dataclass(frozen=True)
class UnlabelledVideo(LabelledVideo):
    """A video file whose label maps ignore every pixel.

    Attributes:
        short: short side that its frames are scaled to, pixels.
    """

    name: str
    fps: int
    video: Path
    short: int

    def __len__(self) -> int:
        return count_frames(self.video)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """Scaled frames."""
        fit = FitSize(self.short, sys.maxsize)
        for image in read_frames(self.video, start, stop):
            height, width = fit.size(*image.shape[:2])
            mode = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
            scaled = np.asarray(cv2.resize(image, (width, height), interpolation=mode), np.uint8)
            yield scaled, np.full((height, width), IGNORE, np.uint8)

    def fingerprint(self) -> Any:
        """The file, and the size of what is taken of it."""
        return [FORMAT, file_fingerprint(self.video), self.short]


def unlabelled_jobs(sources: Sequence[str], fps: int, gop: int, short: int, on_damage: str) -> list[ClipJob]:
    """Clips of the whole of each video, `CODINGS` times.

    Args:
        sources: files, folders and patterns.
        fps: of the clips.
        gop: frames from keyframe to keyframe.
        short: see `UnlabelledVideo`.
        on_damage: "stop" at videos that cannot be read, or "skip" them, with a warning each.

    Raises:
        UserError: nothing is found or left, or a video cannot be read or is shorter than a GOP.
    """
    jobs: list[ClipJob] = []
    for path in video_files(sources, KEY):
        video = UnlabelledVideo(Path(path).name, fps, Path(path), short)
        try:
            frames = len(video)
        except UserError as error:
            reject_or_skip(f"{KEY}: {error}", on_damage)
            continue
        if frames < gop:
            raise UserError(f"{KEY}: '{path}' has {frames} frames, a GOP has {gop}; leave it out, or lower video.gop")
        starts = sorted({start for n in range(CODINGS) if (start := n * gop // CODINGS) <= frames - gop})
        jobs += [VideoClipJob(f"{video.name}_from{start:02d}", start, frames, video) for start in starts]
    if sources and not jobs:
        raise UserError(f"{KEY}: no video is left, all are damaged; replace them, or leave {KEY} out")
    return jobs


def digest_of_files(sources: Sequence[str]) -> str:
    """Digest names, sizes and times of change of the files that sources mean, wherever these lie."""
    content = [file_fingerprint(Path(path)) for path in video_files(sources, KEY)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


class WithUnlabelled(Dataset[dict[str, Any]]):
    """Labelled clips, each with a pair without labels that its seed draws: position and order are those of the clips.

    Args:
        labelled: clips.
        pairs: without labels.
    """

    def __init__(self, labelled: ClipDataset, pairs: ClipDataset) -> None:
        self.labelled, self.pairs = labelled, pairs

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, draw: SampleIndex | int) -> dict[str, Tensor | int | str | dict[str, Any]]:
        """Fields of `ClipBatch` without B, those of the pair below "unlabelled"."""
        rng = np.random.default_rng([*as_sample_index(draw), 1])  # another stream than that of the clip
        pair = self.pairs[int(rng.integers(len(self.pairs))), int(rng.integers(2**62))]
        return {**self.labelled[draw], "unlabelled": pair}
