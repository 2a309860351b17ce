"""The built-in data set `street`; nothing is downloaded or stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from src.data.datasets.base import LabelledDataset, LabelledVideo
from src.data.datasets.camvid import camvid_classes
from src.data.images import ImageArray, Normalisation
from src.data.street import render
from src.errors import LONGEST_SIDE, check_whole


@dataclass(frozen=True)
class StreetVideo(LabelledVideo):
    """One procedural drive, labelled on every frame."""

    name: str
    fps: int
    seed: int
    length: int
    height: int
    width: int

    def __len__(self) -> int:
        return self.length

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """Frames with their labels; those before `start` are rendered too."""
        rendered = render.render_street(self.seed, self.length, self.height, self.width, self.fps)
        yield from islice(rendered, start, stop)

    def fingerprint(self) -> Any:
        """The arguments of the renderer, and its format number."""
        return [render.FORMAT, self.seed, self.length, self.height, self.width, self.fps]


class Street(LabelledDataset):
    """Videos of procedural streets; the splits have seeds of their own, so no street occurs twice.

    Args:
        films: number of videos by split.
        length: frames per video.
        height, width: of the frames, pixels.
        fps: frames per second.

    Raises:
        UserError: no videos or frames, or frames below 32 pixels or above 16384.
    """

    generated = True

    def __init__(self, films: dict[str, int], length: int, height: int, width: int, fps: int) -> None:
        for split, number in films.items():
            check_whole(f"data.source.films.{split}", number, 1)
        for key, value in (("length", length), ("fps", fps)):
            check_whole(f"data.source.{key}", value, 1)
        for key, value in (("height", height), ("width", width)):
            check_whole(f"data.source.{key}", value, 32, LONGEST_SIDE)
        self.counts, self.length, self.height, self.width, self.fps = films, length, height, width, fps
        self.splits = tuple(films)
        self.classes = camvid_classes(void=False)
        self.normalisation = Normalisation((0.45, 0.45, 0.45), (0.25, 0.25, 0.25))

    def videos(self, split: str) -> list[LabelledVideo]:
        """The videos of a split."""
        first = 10_000 * list(self.counts).index(split)
        return [
            StreetVideo(f"street{first + n:05d}", self.fps, first + n, self.length, self.height, self.width)
            for n in range(self.counts[split])
        ]
