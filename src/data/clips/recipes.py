"""Make clips of a data set: of its own videos, or of videos rendered from its still images.

Every way puts labelled frames at chosen distances from the keyframe before them, by where a clip begins.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from src.data.clips.cache import ClipJob, ClipRecipe
from src.data.clips.pace import PacedVideo
from src.data.datasets.base import (
    LabelledDataset,
    LabelledImage,
    LabelledVideo,
    images_of,
    plain_fields,
    videos_of,
)
from src.data.images import ImageArray
from src.data.still_animation import render
from src.data.still_animation.layers import SceneRoles
from src.data.still_animation.motion import SceneMotion
from src.data.still_animation.render import animate_image
from src.errors import UserError, check_choice, check_range

DISTANCES = ("all", "last")
PLACES = ("last", "middle", "first")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoClipJob(ClipJob):
    """Frames start..stop - 1 of a video; frame t lies (t - start) mod L after its keyframe.

    Attributes:
        only: index of the one frame whose labels are kept; None: all.
    """

    name: str
    start: int
    stop: int
    video: LabelledVideo
    only: int | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    def frames(self) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """Images and labels."""
        for index, (image, labels) in enumerate(self.video.frames(self.start, self.stop), start=self.start):
            yield image, labels if self.only in (None, index) else None

    def fingerprint(self) -> Any:
        """The sequence, and what of it is taken."""
        return [self.video.fingerprint(), self.start, self.stop, self.only]


@dataclass(frozen=True)
class AnimatedClipJob(ClipJob):
    """A synthetic video of one GOP around a labelled image, from its frame `start` on.

    Attributes:
        after: frames that follow the image.
    """

    name: str
    start: int
    length: int
    image: LabelledImage
    seed: int
    motion: SceneMotion
    roles: SceneRoles
    after: int = 0

    def __len__(self) -> int:
        return self.length - self.start

    def frames(self) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """The rendered video, labelled on every frame."""
        image, labels = self.image.read()
        rng = np.random.default_rng(self.seed)
        frames = animate_image(image, labels, self.length, rng, self.motion, self.roles, self.after)
        return islice(zip(*frames, strict=True), self.start, None)

    def fingerprint(self) -> Any:
        """The image, what is rendered, and what of it is taken."""
        settings = plain_fields(self.motion), plain_fields(self.roles)
        place = [self.after] if self.after else []  # of videos that end at it, prepared clips stay what they are
        return [self.image.fingerprint(), render.FORMAT, self.start, self.length, self.seed, *settings, *place]


@dataclass(frozen=True)
class ClipsFromVideos(ClipRecipe):
    """A data set's own videos as a whole, each coded once per phase of the GOP: for videos with labels throughout.

    Args:
        phases: how many of the L phases; None: all, so that every frame occurs at every distance.
        every_frame: score the first frames of a video, too, which do not occur at every distance.
        pace: of `PacedVideo`; None: the videos' own.
    """

    phases: int | None
    every_frame: bool = False
    pace: Sequence[Sequence[int]] | None = None

    def jobs(self, source: LabelledDataset, split: str, gop: int) -> list[ClipJob]:
        """One clip per video and phase.

        Raises:
            UserError: no videos, videos shorter than one GOP, or more phases than it has.
        """
        if self.phases is not None:
            allowed = f"1 to {gop}, or null for all phases of the GOP"
            check_range(1 <= self.phases <= gop, "data.module.clips.phases", self.phases, allowed)
        sequences = self._videos(source, split)
        for sequence in sequences:
            if len(sequence) < gop:
                raise UserError(f"video '{sequence.name}' has {len(sequence)} frames, a GOP has {gop}; lower video.gop")
        starts = range(gop if self.phases is None else self.phases)
        return [VideoClipJob(f"{s.name}_from{start:02d}", start, len(s), s) for s in sequences for start in starts]

    def first_scored(self, gop: int, longest_gop: int) -> int:
        """Index in its video of the first frame that is scored."""
        return 0 if self.every_frame else super().first_scored(gop, longest_gop)

    def label_maps(self, source: LabelledDataset, split: str) -> list[Callable[[], ImageArray]]:
        """Readers of the label maps of the videos."""
        return _video_labels(source, split)

    def _videos(self, source: LabelledDataset, split: str) -> list[LabelledVideo]:
        videos = _videos(source, split)
        return videos if self.pace is None else [PacedVideo(video, self.pace) for video in videos]


@dataclass(frozen=True)
class ClipsAtLabels(ClipRecipe):
    """For each labelled frame of a data set's videos, clips that begin at each of its distances before it.

    The paper's way (AR-Seg, section 4.1), for videos of which few frames are labelled.

    Args:
        distances: "all", 0..L-1, or the "last", L-1.
        whole_gop: code the frames after the labelled one too, up to the end of its GOP or of the video.

    Raises:
        UserError: other distances.
    """

    distances: str
    whole_gop: bool

    def __post_init__(self) -> None:
        check_choice("distances", self.distances, DISTANCES)

    def jobs(self, source: LabelledDataset, split: str, gop: int) -> list[ClipJob]:
        """One clip per labelled frame and distance; frames that have too few before them are left out.

        Raises:
            UserError: no videos, or none of their labelled frames has L-1 frames before it.
        """
        labelled = [(sequence, n) for sequence in _videos(source, split) for n in sequence.labelled_frames()]
        latest = max(n for _, n in labelled)
        if latest < gop - 1:
            raise UserError(
                f"video.gop={gop} needs {gop - 1} frames before a labelled frame, the videos of '{split}' have at most "
                f"{latest}; give video.gop={latest + 1} or less"
            )
        early = sum(n < gop - 1 for _, n in labelled)
        if early:
            log.info("%d of %d labelled frames have too few frames before them", early, len(labelled))
        distances = range(gop) if self.distances == "all" else range(gop - 1, gop)
        return [
            VideoClipJob(f"{s.name}_{n:05d}_d{d:02d}", n - d, self._stop(s, n, d, gop), s, n)
            for s, n in labelled
            for d in distances
            if d <= n
        ]

    def label_maps(self, source: LabelledDataset, split: str) -> list[Callable[[], ImageArray]]:
        """Readers of the label maps of the videos."""
        return _video_labels(source, split)

    def _stop(self, sequence: LabelledVideo, labelled: int, distance: int, gop: int) -> int:
        return min(len(sequence), labelled - distance + gop) if self.whole_gop else labelled + 1


@dataclass(frozen=True)
class ClipsFromImages(ClipRecipe):
    """Synthetic videos of one GOP around a data set's still images.

    Args:
        variants: videos per image.
        distances: of the image from its keyframe: "all", 0..L-1, or the "last", L-1.
        seed: of their motion.
        motion: its distribution.
        place: of the image in its video: the "last" frame, the "first", which is the keyframe then, or the "middle",
            frame L // 2. Names, as a share of a GOP would have to be rounded to a frame in each.

    Raises:
        UserError: other distances or places, or "all" distances of an image that is not last.
    """

    variants: int
    distances: str
    seed: int
    motion: SceneMotion
    place: str = "last"

    def __post_init__(self) -> None:
        check_choice("distances", self.distances, DISTANCES)
        check_choice("place", self.place, PLACES)
        if self.place != "last" and self.distances == "all":
            raise UserError(
                f"place={self.place} puts the image at one distance of the GOP; give distances=last with it"
            )

    def jobs(self, source: LabelledDataset, split: str, gop: int) -> list[ClipJob]:
        """One clip per image, variant and distance.

        Raises:
            UserError: the split has no still images.
        """
        images = images_of(source, split)
        if not images:
            raise UserError(
                f"split '{split}' has no still images; take clips from its videos (data/clips@data.module.clips=films)"
            )
        starts = range(gop) if self.distances == "all" else range(1)
        after = {"last": 0, "middle": gop - 1 - gop // 2, "first": gop - 1}[self.place]
        return [
            AnimatedClipJob(
                f"{s.name}_v{v}_from{start:02d}", start, gop, s, self._seed(s, v), self.motion, source.roles, after
            )
            for v in range(self.variants)
            for s in images
            for start in starts
        ]

    def first_scored(self, gop: int, longest_gop: int) -> int:
        """Index of the last frame, which by default is the labelled image."""
        return gop - 1

    def label_maps(self, source: LabelledDataset, split: str) -> list[Callable[[], ImageArray]]:
        """Readers of the label maps of the images."""
        return [image.read_labels for image in images_of(source, split)]

    def _seed(self, image: LabelledImage, variant: int) -> int:
        return zlib.crc32(os.fsencode(f"{image.name}/{variant}/{self.seed}"))  # a file name need not be UTF-8


def _videos(source: LabelledDataset, split: str) -> list[LabelledVideo]:
    sequences = videos_of(source, split)
    if not sequences:
        raise UserError(
            f"split '{split}' has no videos; make clips from its still images (data/clips@data.module.clips=stills)"
        )
    return sequences


def _video_labels(source: LabelledDataset, split: str) -> list[Callable[[], ImageArray]]:
    return [partial(video.read_labels, n) for video in _videos(source, split) for n in video.labelled_frames()]
