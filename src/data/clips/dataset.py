"""Prepared clips as training and validation samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from src.data.batch import Sample
from src.data.clips.table import Clip, Clips
from src.data.datasets.base import LabelledImage
from src.data.sampling import SampleIndex, as_sample_index
from src.data.transforms import to_tensors
from src.errors import UserError
from src.video.motion.field import identity
from src.video.reading.gop import ClipMotion, read_gop, read_keyed

Indices = NDArray[np.int32]


class Candidate(NamedTuple):
    """A keyframe of a clip and the labelled frames that may be drawn after it."""

    clip: Clip
    key: int
    frames: tuple[int, ...]


class Candidates:
    """Candidates as arrays, which processes share; a clip is looked at when its candidate is taken.

    Args:
        clips: that they are of.
        owners, frames: (M,) number of the clip and index of each frame, those of a candidate side by side.
        ends: (N,) of each candidate, the place after its last frame.
    """

    def __init__(self, clips: Clips, owners: Indices, frames: Indices, ends: Indices) -> None:
        self.clips, self._owners, self._frames, self._ends = clips, owners, frames, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> Candidate:
        """A candidate, whose clip is verified."""
        number = range(len(self))[number]
        first, end = int(self._ends[number - 1]) if number else 0, int(self._ends[number])
        frames = tuple(self._frames[first:end].tolist())
        clip = self.clips[int(self._owners[first])]
        return Candidate(clip, frames[0] - frames[0] % clip.gop, frames)

    def one_per_frame(self) -> Candidates:
        """The same frames, each a candidate of its own."""
        return Candidates(self.clips, self._owners, self._frames, np.arange(1, len(self._frames) + 1, dtype=np.int32))

    def distances(self) -> Indices:
        """(N,) from each candidate's first frame to its keyframe."""
        return self._frames[np.concatenate([[0], self._ends[:-1]])] % self.clips.gop if len(self) else self._frames


def training_candidates(clips: Clips, distances: range) -> Candidates:
    """One candidate per GOP that has labelled frames at any of the distances."""
    wanted = np.isin(clips.frames % clips.gop, list(distances))
    owners, frames = clips.owners[wanted], clips.frames[wanted]
    keys = frames // clips.gop
    last = np.ones(len(frames), np.bool_)
    last[:-1] = (owners[1:] != owners[:-1]) | (keys[1:] != keys[:-1])
    return Candidates(clips, owners, frames, (np.flatnonzero(last) + 1).astype(np.int32))


def default_distances(gop: int) -> list[int]:
    """Distances to the keyframe that stand for a GOP: the first, a quarter, half and the last; 1, 3, 6, 11 of 12."""
    return sorted({max(min(1, gop - 1), distance) for distance in (1, gop // 4, gop // 2, gop - 1) if distance < gop})


def is_scored(clip: Clip, index: int, first: int | None = None) -> bool:
    """Check that a frame can be reached at every distance.

    These are the frames L-1, L, .. of a video that is encoded once from each of its first L frames on.

    Only these are scored, so that all distances and all methods are compared on the same frames.

    Args:
        clip: of the video.
        index: of the frame in the clip.
        first: of the video's frames that can be reached, where that is a later one than L-1.
    """
    return clip.start + index >= (clip.gop - 1 if first is None else first)


def scored_candidates(
    clips: Clips, distances: list[int], stride: int, frames: int = 1, first: int | None = None
) -> Candidates:
    """One candidate per scored frame at one of the distances; every `stride`-th of the video's frames.

    Of the scored frames, see `is_scored`, only those count that are the last of `frames` frames in every coding of the
    video.
    """
    places = clips.starts[clips.owners] + clips.frames - (clips.gop - 1 if first is None else first) - (frames - 1)
    wanted = (places >= 0) & (places % stride == 0) & np.isin(clips.frames % clips.gop, distances)
    ends = np.arange(1, int(wanted.sum()) + 1, dtype=np.int32)
    return Candidates(clips, clips.owners[wanted], clips.frames[wanted], ends)


class ClipDataset(Dataset[dict[str, "Tensor | int | str"]]):
    """Decoded clips with their motion.

    Args:
        candidates: what may be drawn.
        frames: T of `ClipBatch`: 1 = the drawn frame; "pair" = its keyframe and itself; m = the m frames up to it.
        motion: where the motion of pairs comes from, "exact" or "estimate".
        transform: augmentation, or None.
    """

    def __init__(
        self,
        candidates: Candidates,
        frames: int | str,
        motion: ClipMotion,
        transform: Transform | None,
    ) -> None:
        if not len(candidates):
            raise UserError(
                "no labelled frame lies at the distances asked for; check video.gop and data.module.distance"
            )
        self.candidates, self.frames, self.motion, self.transform = candidates, frames, motion, transform

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
        return to_tensors(sample)

    def _read(self, candidate: Candidate, index: int) -> Sample:
        clip = candidate.clip
        if isinstance(self.frames, str):
            keyed = read_keyed(clip.video, candidate.key, index, self.motion)
            frames, field, valid = np.stack([keyed.key, keyed.image]), keyed.motion.field, keyed.motion.valid
        else:
            first = index - self.frames + 1
            decoded = read_gop(clip.video, first - first % clip.gop, index, "none")
            frames = np.stack([frame.image for frame in decoded[-self.frames :]])
            at_rest = identity(*frames.shape[1:3])
            field, valid = at_rest.field, at_rest.valid
        labels = clip.read_labels(index, frames.shape[1:3])
        return Sample(frames, labels, field, valid, index - candidate.key, f"{clip.name}:{index}")


Transform = Callable[[Sample, np.random.Generator], Sample]


class ImageDataset(Dataset[dict[str, "Tensor | int | str"]]):
    """Labelled images as samples with T = 1 and distance 0.

    Args:
        images: what to read.
        transform: augmentation, or None.

    Raises:
        UserError: there are none.
    """

    def __init__(self, images: list[LabelledImage], transform: Transform | None) -> None:
        if not images:
            raise UserError("the data set has no still images in this split; take decoded frames: data.pictures=frame")
        self.images, self.transform = images, transform

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
        return to_tensors(sample)
