"""Prepared clips as training and validation samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from src.data.batch import Sample
from src.data.clips.cache import Clip
from src.data.datasets.base import LabelledImage
from src.data.images import Normalisation
from src.data.sampling import SampleIndex, as_sample_index
from src.data.transforms import to_tensors
from src.errors import UserError
from src.video.motion.field import identity
from src.video.reading.gop import ClipMotion, read_gop, read_keyed


@dataclass(frozen=True)
class Candidate:
    """A keyframe of a clip and the labelled frames that may be drawn after it."""

    clip: Clip
    key: int
    frames: tuple[int, ...]


def training_candidates(clips: list[Clip], distances: range) -> list[Candidate]:
    """One candidate per GOP that has labelled frames at any of the distances."""
    found = []
    for clip in clips:
        labelled = set(clip.labelled)
        for key in range(0, clip.length, clip.gop):
            frames = tuple(key + d for d in distances if key + d in labelled)
            if frames:
                found.append(Candidate(clip, key, frames))
    return found


def one_per_frame(candidates: list[Candidate]) -> list[Candidate]:
    """The same frames, each a candidate of its own."""
    return [Candidate(c.clip, c.key, (frame,)) for c in candidates for frame in c.frames]


def is_scored(clip: Clip, index: int) -> bool:
    """Check that a frame can be reached at every distance.

    These are the frames L-1, L, .. of a video that is encoded once from each of its first L frames on.

    Only these are scored, so that all distances and all methods are compared on the same frames.
    """
    return clip.start + index >= clip.gop - 1


def scored_candidates(clips: list[Clip], distances: list[int], stride: int, frames: int = 1) -> list[Candidate]:
    """One candidate per scored frame at one of the distances; every `stride`-th of the video's frames.

    Of the scored frames only those count that are the last of `frames` frames in every coding of the video.
    """
    found = []
    for clip in clips:
        for index in clip.labelled:
            place = clip.start + index - clip.gop + 1 - (frames - 1)
            if place >= 0 and place % stride == 0 and index % clip.gop in distances:
                found.append(Candidate(clip, index - index % clip.gop, (index,)))
    return found


class ClipDataset(Dataset[dict[str, "Tensor | int | str"]]):
    """Decoded clips with their motion.

    Args:
        candidates: what may be drawn.
        frames: T of `ClipBatch`: 1 = the drawn frame; "pair" = its keyframe and itself; m = the m frames up to it.
        motion: where the motion of pairs comes from, "exact" or "estimate".
        normalisation: of the network's input.
        transform: augmentation, or None.
    """

    def __init__(
        self,
        candidates: list[Candidate],
        frames: int | str,
        motion: ClipMotion,
        normalisation: Normalisation,
        transform: Transform | None,
    ) -> None:
        if not candidates:
            raise UserError(
                "no labelled frame lies at the distances asked for; check video.gop and data.module.distance"
            )
        self.candidates, self.frames, self.motion = candidates, frames, motion
        self.normalisation, self.transform = normalisation, transform

    def __len__(self) -> int:
        return len(self.candidates)

    def __getitem__(self, draw: SampleIndex | int) -> dict[str, Tensor | int | str]:
        """Fields of `ClipBatch` without B; the frame is drawn among the candidate's by the seed."""
        number, seed = as_sample_index(draw)
        candidate = self.candidates[number]
        rng = np.random.default_rng(seed)
        index = int(rng.choice(candidate.frames))
        sample = self._read(candidate, index)
        if self.transform is not None:
            sample = self.transform(sample, rng)
        return to_tensors(sample, self.normalisation)

    def _read(self, candidate: Candidate, index: int) -> Sample:
        clip = candidate.clip
        labels = clip.read_labels(index)
        if isinstance(self.frames, str):
            keyed = read_keyed(clip.video, candidate.key, index, self.motion)
            frames, field, valid = np.stack([keyed.key, keyed.image]), keyed.motion.field, keyed.motion.valid
        else:
            first = index - self.frames + 1
            decoded = read_gop(clip.video, first - first % clip.gop, index, "none")
            frames = np.stack([frame.image for frame in decoded[-self.frames :]])
            at_rest = identity(*labels.shape)
            field, valid = at_rest.field, at_rest.valid
        return Sample(frames, labels, field, valid, index - candidate.key, f"{clip.name}:{index}")


Transform = Callable[[Sample, np.random.Generator], Sample]


class ImageDataset(Dataset[dict[str, "Tensor | int | str"]]):
    """Labelled images as samples with T = 1 and distance 0.

    Args:
        images: what to read.
        normalisation: of the network's input.
        transform: augmentation, or None.

    Raises:
        UserError: there are none.
    """

    def __init__(self, images: list[LabelledImage], normalisation: Normalisation, transform: Transform | None) -> None:
        if not images:
            raise UserError("the data set has no still images in this split; take decoded frames: data.pictures=frame")
        self.images, self.normalisation, self.transform = images, normalisation, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: SampleIndex | int) -> dict[str, Tensor | int | str]:
        """Fields of `ClipBatch` without B."""
        index, seed = as_sample_index(draw)
        image, labels = self.images[index].read()
        sample = Sample(
            image[None],
            labels,
            np.zeros((2, *labels.shape), np.float32),
            np.ones(labels.shape, np.bool_),
            0,
            self.images[index].name,
        )
        if self.transform is not None:
            sample = self.transform(sample, np.random.default_rng(seed))
        return to_tensors(sample, self.normalisation)
