"""The ways to get clips from a data set: its own films, or films made from its stills."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np

from src.data import scene_motion, still_clips, still_layers
from src.data.prepare_clips import ClipJob, ClipRecipe
from src.data.scene_motion import StillMotion
from src.data.source import Picture, Sequence, Source, Still
from src.data.still_clips import render_still_clip
from src.errors import UserError


@dataclass(frozen=True)
class FilmJob(ClipJob):
    """A film coded from frame `start` on, so that frame t lies (t - start) mod L after its keyframe."""

    name: str
    start: int
    sequence: Sequence

    def frames(self) -> Iterator[tuple[Picture, Picture | None]]:
        """Frames start, start + 1, .. of the sequence."""
        return islice(self.sequence.frames(), self.start, None)

    def identity(self) -> Any:
        """The sequence and where it starts."""
        return [self.sequence.identity(), self.start]

    def makers(self) -> list[ModuleType]:
        """The sequence's own."""
        return self.sequence.makers()


@dataclass(frozen=True)
class StillJob(ClipJob):
    """A synthetic film of one GOP that ends at a labelled still."""

    name: str
    still: Still
    length: int
    seed: int
    motion: StillMotion
    start: int = 0

    def frames(self) -> Iterator[tuple[Picture, Picture | None]]:
        """The rendered film, labelled on every frame."""
        image, labels = self.still.read()
        rng = np.random.default_rng(self.seed)
        return zip(*render_still_clip(image, labels, self.length, rng, self.motion), strict=True)

    def identity(self) -> Any:
        """The still, the length, the seed and the distribution of motion."""
        return [self.still.identity(), self.length, self.seed, asdict(self.motion)]

    def makers(self) -> list[ModuleType]:
        """The renderer."""
        return [still_clips, still_layers, scene_motion]


@dataclass(frozen=True)
class ClipsFromFilms(ClipRecipe):
    """A data set's own films, each coded once per phase of the GOP.

    Args:
        phases: how many of the L phases; None: all, so that every frame occurs at every distance.
    """

    phases: int | None

    def jobs(self, source: Source, split: str, gop: int) -> list[ClipJob]:
        """One clip per film and phase.

        Raises:
            UserError: no films, or films shorter than one GOP.
        """
        sequences = source.sequences(split)
        if not sequences:
            raise UserError(
                f"split '{split}' has no films; make clips from its stills (data/clips@data.module.clips=stills)"
            )
        for sequence in sequences:
            if len(sequence) < gop:
                raise UserError(f"film '{sequence.name}' has {len(sequence)} frames, a GOP has {gop}; lower video.gop")
        starts = range(gop if self.phases is None else self.phases)
        return [FilmJob(f"{s.name}_from{start:02d}", start, s) for s in sequences for start in starts]


@dataclass(frozen=True)
class ClipsFromStills(ClipRecipe):
    """Synthetic films of one GOP that end at a data set's stills.

    Args:
        variants: films per still.
        seed: of their motion.
        motion: its distribution.
    """

    variants: int
    seed: int
    motion: StillMotion

    def jobs(self, source: Source, split: str, gop: int) -> list[ClipJob]:
        """One clip per still and variant.

        Raises:
            UserError: the split has no stills.
        """
        stills = source.stills(split)
        if not stills:
            raise UserError(
                f"split '{split}' has no stills; take clips from its films (data/clips@data.module.clips=films)"
            )
        return [
            StillJob(f"{s.name}_v{v}", s, gop, zlib.crc32(f"{s.name}/{v}/{self.seed}".encode()), self.motion)
            for v in range(self.variants)
            for s in stills
        ]
