"""Write a video whose frames are shown at the times of another video's frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from src.video.reading.colour import from_rgb, tag_colours
from src.video.reading.container import visible_comment
from src.video.reading.decode import Video


class RetimedVideo:
    """A writer of H.264 with the times of a source video.

    Times are exact, whatever the frame rate does: the video takes over the time base of its source. Sound is
    left out. 4:2:0 needs even sizes: an odd one is padded as `src.video.writing.encode` does, and noted for `Video`.

    Args:
        path: of the video; .mp4.
        source: whose size, rate and time base it takes.
        threads: of the encoder.
    """

    def __init__(self, path: Path, source: Video, threads: int) -> None:
        self._last, self._time_base = -(1 << 62), source.info.time_base
        height, width = source.info.height, source.info.width
        # The start of a video is written in units of the movie's time scale, by default milliseconds.
        options = {"movie_timescale": str(self._time_base.denominator)}
        self._container = av.open(str(path), "w", options=options)
        if height % 2 or width % 2:
            self._container.metadata["comment"] = visible_comment(height, width)
        self._stream: VideoStream = self._container.add_stream(
            "libx264", rate=source.info.fps or 25, options={"preset": "veryfast", "crf": "20"}
        )
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt, self._stream.thread_count = "yuv420p", threads
        self._stream.time_base = self._stream.codec_context.time_base = self._time_base
        tag_colours(self._stream.codec_context, self._stream.height, self._stream.width)

    def write(self, image: NDArray[np.uint8], pts: Fraction) -> None:
        """Add the next image (H, W, 3) RGB, shown from `pts` seconds on."""
        height, width = image.shape[:2]
        coded = from_rgb(np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
        # Videos with repeated or descending times exist; encoders want them to rise.
        self._last = max(round(pts / self._time_base), self._last + 1)
        coded.pts, coded.time_base = self._last, self._time_base
        self._container.mux(self._stream.encode(coded))

    def __enter__(self) -> RetimedVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._container:
            if kind is None:
                self._container.mux(self._stream.encode())
