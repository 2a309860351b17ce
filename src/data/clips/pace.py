"""A video whose pace changes: pauses, and stretches at a multiple of its speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from src.data.datasets.base import LabelledVideo
from src.data.images import ImageArray
from src.errors import UserError

KEY = "data.module.clips.pace"
FORM = "whole numbers [frames, step], such as [[12,1],[12,0],[12,3]], with frames above 0 and a step above 0 among them"


class PacedVideo(LabelledVideo):
    """Frames of a video in turns of several steps: 1 is its own pace, 0 a pause, 3 three times as fast.

    Args:
        video: of which frames are shown.
        pace: (frames, step) of each turn; after the last comes the first again, until the video ends.

    Raises:
        UserError: no such pairs.
    """

    def __init__(self, video: LabelledVideo, pace: Sequence[Sequence[int]]) -> None:
        turns = [turn if isinstance(turn, Sequence) else [turn] for turn in pace] if isinstance(pace, Sequence) else []
        whole = all(len(turn) == 2 and all(type(n) is int for n in turn) for turn in turns)
        if not (whole and all(frames > 0 and step >= 0 for frames, step in turns) and any(step for _, step in turns)):
            raise UserError(f"{KEY}={pace} is out of range; give {FORM}")
        self.name, self.fps = f"{video.name}_paced", video.fps
        self._video, self._pace = video, [list(turn) for turn in turns]
        self.order = list(self._order())

    def __len__(self) -> int:
        return len(self.order)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageArray, ImageArray | None]]:
        """Yield images and labels; those of a pause are the same again."""
        wanted = self.order[start:stop]
        if not wanted:
            return
        at = wanted[0]
        source = self._video.frames(at, wanted[-1] + 1)
        found = next(source)
        for index in wanted:
            while at < index:
                found, at = next(source), at + 1
            yield found

    def labelled_frames(self) -> tuple[int, ...]:
        """Return the indices of the frames that have labels."""
        labelled = set(self._video.labelled_frames())
        return tuple(n for n, index in enumerate(self.order) if index in labelled)

    def fingerprint(self) -> Any:
        """The video, and its pace."""
        return [self._video.fingerprint(), self._pace]

    def _order(self) -> Iterator[int]:
        index = 0
        while True:
            for frames, step in self._pace:
                for _ in range(frames):
                    yield index
                    index += step
                    if index >= len(self._video):
                        return
