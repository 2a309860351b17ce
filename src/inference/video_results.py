"""The files of one video's results, written while it is segmented."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from src.data.labels import ClassSet
from src.files import as_json
from src.inference.outputs import Overlay, SpendingBars, class_shares, write_labels
from src.inference.segment import Segmented
from src.inference.timing import TIMING, TimingFile
from src.pipeline import Consumer
from src.video.reading.decode import Video
from src.video.writing.retimed import RetimedVideo

LabelFormat = Literal["png", "video"]


@dataclass(frozen=True)
class Kinds:
    """Which files are written beside timing.json and results.jsonl.

    Attributes:
        overlay: overlay.mp4.
        opacity: 0..1 of the class colours in it.
        labels: labels/<frame index>.png or labels.mkv (lossless, 8-bit grey); None for neither.
        costs: of each kind of frame, drawn into the overlay; None: they are not.
    """

    overlay: bool
    opacity: float
    labels: LabelFormat | None
    costs: Mapping[str, float] | None = None


class VideoResults:
    """Write results into an existing folder, in a thread of its own if `ahead` is not 0.

    results.jsonl has one line per frame, there as soon as the frame is done.

    Args:
        folder: to write to.
        video: that the results are of.
        classes: of the labels.
        kinds: of files.
        threads: of the encoders.
        ahead: results that may wait to be written; 0 writes each in `put`.
    """

    def __init__(self, folder: Path, video: Video, classes: ClassSet, kinds: Kinds, threads: int, ahead: int) -> None:
        self._folder, self._classes, self._kinds = folder, classes, kinds
        self._stack, self._began = ExitStack(), time.perf_counter()
        with self._stack:
            self._timing = self._stack.enter_context(TimingFile(folder / TIMING))
            self._lines = self._stack.enter_context((folder / "results.jsonl").open("w", encoding="utf-8"))
            self._shown = self._label_video = None
            self._bars = None if kinds.costs is None else SpendingBars(kinds.costs)
            if kinds.overlay:
                self._overlay = Overlay(classes, kinds.opacity)
                self._shown = self._stack.enter_context(RetimedVideo(folder / "overlay.mp4", video, threads))
            if kinds.labels == "video":
                labels = RetimedVideo(folder / "labels.mkv", video, threads, lossless=True)
                self._label_video = self._stack.enter_context(labels)
            elif kinds.labels == "png":
                (folder / "labels").mkdir()
            self._writer = self._stack.enter_context(Consumer(self._write, ahead))
            self._stack = self._stack.pop_all()

    def put(self, result: Segmented) -> None:
        """Write the next result, now or soon.

        Raises:
            Exception: that one of the results before could not be written.
        """
        self._writer.put(result)

    def finish(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Write all that waits, and the summary, which is returned; see `TimingFile.finish`."""
        self._writer.__exit__(None, None, None)
        return self._timing.finish(about, time.perf_counter() - self._began)

    def _write(self, result: Segmented) -> None:
        began, frame = time.perf_counter(), result.frame
        if self._shown is not None:
            drawn = self._overlay.draw(result)
            if self._bars is not None:
                self._bars.draw(drawn, result)
            self._shown.write(drawn, frame.pts)
        if self._label_video is not None:
            self._label_video.write(result.labels, frame.pts)
        elif self._kinds.labels == "png":
            write_labels(self._folder / "labels", result)
        shares = class_shares(result.labels, self._classes)
        row = self._timing.write(result, 1000 * (time.perf_counter() - began))
        self._lines.write(as_json(row | {"classes": shares}, ensure_ascii=False) + "\n")
        self._lines.flush()

    def __enter__(self) -> VideoResults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
