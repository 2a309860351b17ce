"""Decode any video to upright RGB frames with block motion to the previous frame."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Literal, get_args

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from src.errors import UserError
from src.video.reading.colour import to_rgb
from src.video.reading.container import first_frame, open_video, packets_of, visible_size
from src.video.reading.damage import CONTINUE, DamageDetector, DecodedFrame, Policy
from src.video.reading.orientation import Orientation, orientation_of
from src.video.types import Frame
from src.video.vectors.block_search import BlockSearch, FrameWithVectors, with_estimated_vectors
from src.video.vectors.exported import SKIPS, ExactVectors, has_layers
from src.video.vectors.transcoded import Transcoder

KnownMotion = Literal["none", "exact", "estimate", "transcode"]
MotionSource = Literal["none", "exact", "estimate", "transcode", "auto"]

LATE = 10  # seconds that the first frame may come after the first sound
PROBED = 64  # packets; layers repeat every few frames

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video that are known before it is decoded.

    Attributes:
        codec: FFmpeg's name, e.g. "h264", "hevc".
        height, width: of the upright frames.
        fps: mean frames per second as the container states it, None where it does not.
        time_base: seconds that every `pts` is a multiple of.
        start: seconds at which the first frame is shown, or sound begins before it; hours in recordings of broadcasts.
        sample_aspect_ratio: width over height of an upright pixel; None where the video does not say.
        frames: as the container states them, 0 where it does not; often wrong.
        all_intra: the codec has nothing but I frames (MJPEG, ProRes).
        orientation: how coded frames are turned upright.
        coded: (height, width) of the first frame as it is decoded.
        motion: where vectors come from; "auto" may change it to "estimate" while iterating.
        inexact: why the video has no exact vectors, None where it has.
    """

    codec: str
    height: int
    width: int
    fps: Fraction | None
    time_base: Fraction
    start: Fraction
    sample_aspect_ratio: Fraction | None
    frames: int
    all_intra: bool
    orientation: Orientation
    coded: tuple[int, int]
    motion: KnownMotion
    inexact: str | None

    def image(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """RGB (height, width, 3) of a decoded frame, upright; rescaled where the video has changed its size."""
        height, width = self.orientation.size(self.height, self.width)
        image = to_rgb(frame)
        if image.shape[:2] != self.coded:
            smaller = image.shape[0] > height or image.shape[1] > width
            mode = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, (width, height), interpolation=mode), np.uint8)
        return self.orientation.image(image[:height, :width])

    def rows(self, vectors: NDArray[np.float32], frame: av.VideoFrame) -> NDArray[np.float32]:
        """Vectors (N, 6) of a decoded frame for its `image`."""
        height, width = self.orientation.size(self.height, self.width)
        if (frame.height, frame.width) != self.coded:
            across, down = width / frame.width, height / frame.height
            vectors = vectors * np.array([across, down] * 3, np.float32)
        return self.orientation.vectors(vectors, self.height, self.width)


class Video:
    """A video that can be iterated, any number of times, giving `Frame`s in display order.

    Args:
        path: of the video.
        motion: "exact" takes the codec's vectors, "estimate" FFmpeg's block search on the decoded frames
            (any codec), "transcode" the vectors of an H.264 stream that the frames are encoded as on the way (any
            codec), "auto" exact where possible, else the estimate, logging which and why, "none" neither. Where frames
            show in mid-stream that vectors are not exact any longer, "auto" goes over to the estimate, with a warning.
        on_damage: "stop" raises at the first lost or corrupt data; "continue" warns and marks the frame.
        threads: of the decoder.
        remedy: against damage, named by the error under "stop".

    Raises:
        UserError: no readable video, an unknown `motion`, motion="exact" where there is none; while iterating,
            damage, and the first frame without exact motion.
    """

    def __init__(
        self,
        path: Path | str,
        motion: MotionSource = "exact",
        on_damage: Policy = "stop",
        threads: int = 1,
        remedy: str = CONTINUE,
    ) -> None:
        self.path = Path(path)
        self.on_damage = on_damage
        self.threads = threads
        self._asked, self._remedy = motion, remedy
        self.info = self._probe(motion)

    def __iter__(self) -> Iterator[Frame]:
        container, stream = open_video(self.path, self.threads)
        with container:
            yield from self._frames(container, stream, self.on_damage)

    def _frames(
        self, container: InputContainer, stream: VideoStream, policy: Policy | Literal["mark"]
    ) -> Iterator[Frame]:
        size = self.info.coded
        exact = ExactVectors(self.path, stream) if self.info.motion == "exact" else None
        see = exact.see if exact else None
        watch = DamageDetector(self.path, container, stream, policy, see, self._remedy)
        if exact is not None:
            exact.request(stream)
            frames = self._with_exact_vectors(watch, exact)
        elif self.info.motion != "none":
            frames = with_estimated_vectors(watch, Transcoder if self.info.motion == "transcode" else BlockSearch)
        else:
            frames = ((coded, None) for coded in watch)
        for coded, vectors in frames:
            now = coded.frame.height, coded.frame.width
            if now != size:
                self._report_size(coded.index, size, now)
                size, vectors = now, None
            yield self._frame(coded, vectors)

    def _report_size(self, index: int, before: tuple[int, int], now: tuple[int, int]) -> None:
        log.warning(
            "%s: the size changes at frame %d from %dx%d to %dx%d; scaled to %dx%d, after a keyframe",
            self.path, index, before[1], before[0], now[1], now[0], self.info.width, self.info.height,
        )  # fmt: skip

    def _probe(self, motion: MotionSource) -> VideoInfo:
        container, stream = open_video(self.path)
        with container:
            first = first_frame(container, stream)
            if first is None:
                raise UserError(f"video '{self.path}' holds no frame that decodes: corrupt or cut short; copy it again")
            return self._describe(container, stream, first, motion)

    def _describe(
        self, container: InputContainer, stream: VideoStream, first: av.VideoFrame | None, motion: MotionSource
    ) -> VideoInfo:
        """Properties of an open video; without its first frame, those that the headers state."""
        coded = stream if first is None else first
        orientation = Orientation() if first is None else orientation_of(first)
        height, width = orientation.size(*visible_size(container, coded))
        exact = ExactVectors(self.path, stream)
        inexact = exact.reason or (None if first is None else exact.check(first))
        if inexact is None and first is not None and has_layers(_probed(container, stream), stream):
            inexact = SKIPS
        return VideoInfo(
            codec=stream.codec_context.codec.canonical_name,
            height=height,
            width=width,
            fps=stream.average_rate,
            time_base=Fraction(stream.time_base or Fraction(1, 90000)),
            start=Fraction(0) if first is None else _start(container, first),
            sample_aspect_ratio=orientation.aspect(stream.sample_aspect_ratio),
            frames=stream.frames,
            all_intra=stream.codec_context.codec.intra_only,
            orientation=orientation,
            coded=(coded.height, coded.width),
            motion=self._choose(motion, inexact),
            inexact=inexact,
        )

    def _choose(self, motion: MotionSource, inexact: str | None) -> KnownMotion:
        if motion not in get_args(MotionSource):
            raise UserError(f"motion '{motion}' is not one of {', '.join(get_args(MotionSource))}; choose one of these")
        if motion == "exact" and inexact:
            raise UserError(self._no_exact(inexact))
        if motion != "auto":
            return motion
        if inexact:
            log.info("%s: motion estimated from the frames, because %s", self.path, inexact)
            return "estimate"
        log.info("%s: exact motion from the codec (one reference frame, no B frames)", self.path)
        return "exact"

    def _no_exact(self, reason: str) -> str:
        return (
            f"video '{self.path}' has no exact motion vectors: {reason}; set video.motion=estimate or transcode, "
            "or encode it with one reference frame and without B frames (x264: bframes=0:ref=1)"
        )

    def _with_exact_vectors(self, coded: Iterable[DecodedFrame], exact: ExactVectors) -> Iterator[FrameWithVectors]:
        frames, previous = iter(coded), None
        for one in frames:
            inexact = exact.check(one.frame)
            if inexact:
                self._fall_back(f"{inexact}, as frame {one.index} shows", one.index)
                estimated = with_estimated_vectors(chain([one] if previous is None else [previous, one], frames))
                yield from islice(estimated, previous is not None, None)  # the previous frame was given before
                return
            followed = PictureType(one.frame.pict_type) == PictureType.P and not one.follows_hidden
            yield one, exact.of(one.frame, one.index) if followed else None
            previous = one

    def _fall_back(self, inexact: str, index: int) -> None:
        if self._asked == "exact":
            raise UserError(self._no_exact(inexact))
        log.warning("%s: motion estimated from frame %d on, because %s", self.path, index, inexact)
        self.info = replace(self.info, motion="estimate", inexact=inexact)

    def _frame(self, coded: DecodedFrame, vectors: NDArray[np.float32] | None) -> Frame:
        info, frame = self.info, coded.frame
        if vectors is not None:
            vectors = info.rows(vectors, frame)
        return Frame(info.image(frame), _type_of(frame), vectors, _seconds(coded, info.fps), coded.index, coded.damaged)


def decode(
    path: Path | str, motion: MotionSource = "exact", on_damage: Policy = "stop", threads: int = 1
) -> Iterator[Frame]:
    """Iterate over the frames of a `Video`."""
    return iter(Video(path, motion, on_damage, threads))


def _start(container: InputContainer, first: av.VideoFrame) -> Fraction:
    """Seconds at which the earliest stream starts, unless that is far from the first frame."""
    shown = Fraction(0) if first.pts is None else first.pts * Fraction(first.time_base or 0)
    starts = [s.start_time * Fraction(s.time_base or 0) for s in container.streams if s.start_time is not None]
    earliest = min(starts, default=shown)
    return earliest if 0 <= shown - earliest < LATE else shown


def _probed(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    return islice((packet for packet in packets_of(container, stream) if packet.size), PROBED)


def _type_of(frame: av.VideoFrame) -> str:
    name = PictureType(frame.pict_type).name
    return name if name in ("I", "P", "B") else "?"


def _seconds(coded: DecodedFrame, fps: Fraction | None) -> Fraction:
    if coded.frame.pts is None or coded.frame.time_base is None:  # raw streams carry no times
        return Fraction(coded.index) / (fps or 25)
    return coded.frame.pts * coded.frame.time_base
