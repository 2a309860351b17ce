"""Write a video whose frames are shown at the times of another video's frames."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)

_LONGEST = 2**30  # ticks from a frame to the next; MP4 cannot store twice as many


class RetimedVideo:
    """A writer of H.264 or FFV1 with the times of a source video, counted from its start, and its sample aspect ratio.

    Times are exact, whatever the frame rate does: the video takes over the time base of its source. Where times go
    back, as in streams that were joined, they continue after a frame of usual length. Sound is
    left out. 4:2:0 needs even sizes: an odd one is padded as `src.video.writing.encode` does, and noted for `Video`.

    Args:
        path: of the video; .mp4, or .mkv if lossless.
        source: whose size, rate, time base, start and sample aspect ratio it takes.
        threads: of the encoder.
        lossless: 8-bit grey images (H, W) in FFV1, every value kept.
    """

    def __init__(self, path: Path, source: Video, threads: int, lossless: bool = False) -> None:
        self._lossless = lossless
        info = source.info
        self._time_base, self._shift = info.time_base, -round(info.start / info.time_base)
        rate = max(Fraction(1), Fraction(info.fps or 25))  # the mean of a video with a gap may be far lower
        self._usual = max(1, round(1 / rate / info.time_base))  # ticks
        self._last: int | None = None
        height, width = info.height, info.width
        # The start of a video is written in units of the movie's time scale, by default milliseconds.
        options = {} if lossless else {"movie_timescale": str(self._time_base.denominator)}
        self._container = av.open(str(path), "w", options=options)
        if not lossless and (height % 2 or width % 2):
            self._container.metadata["comment"] = visible_comment(height, width)
        codec, settings = ("ffv1", {}) if lossless else ("libx264", {"preset": "superfast", "crf": "22"})
        self._stream: VideoStream = self._container.add_stream(codec, rate=rate, options=settings)  # type: ignore[assignment]
        if not lossless:
            height, width = height + height % 2, width + width % 2
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt, self._stream.thread_count = "gray" if lossless else "yuv420p", threads
        if info.sample_aspect_ratio:
            self._stream.codec_context.sample_aspect_ratio = info.sample_aspect_ratio
        self._stream.time_base = self._stream.codec_context.time_base = self._time_base
        if not lossless:
            tag_colours(self._stream.codec_context, height, width)

    def write(self, image: NDArray[np.uint8], pts: Fraction) -> None:
        """Add the next image, (H, W, 3) RGB or (H, W) if lossless, shown from `pts` seconds on."""
        height, width = image.shape[:2]
        if self._lossless:
            coded = av.VideoFrame.from_ndarray(image, format="gray")
        else:
            coded = from_rgb(np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
        coded.pts, coded.time_base = self._ticks(pts), self._time_base
        self._container.mux(self._stream.encode(coded))

    def _ticks(self, pts: Fraction) -> int:
        """Time to write for one of the source; encoders want them to rise."""
        given = round(pts / self._time_base) + self._shift
        ticks = given
        if self._last is not None and given <= self._last - self._usual:
            ticks = self._last + self._usual  # the clock begins anew
            self._shift += ticks - given
        elif self._last is not None:
            ticks = max(given, self._last + 1)
            if ticks > self._last + _LONGEST:
                log.warning("a gap of %.0f s is shortened, MP4 cannot store it", (ticks - self._last) * self._time_base)
                self._shift += self._last + _LONGEST - ticks
                ticks = self._last + _LONGEST
        self._last = ticks
        return ticks

    def __enter__(self) -> RetimedVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._container:
            if kind is None:
                self._container.mux(self._stream.encode())
