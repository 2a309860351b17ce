"""Videos that arrive while they are read: cameras, network streams, pipes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from src.errors import UserError
from src.video.reading.container import LIMITS, best_stream, reason
from src.video.reading.decode import MotionSource, Video
from src.video.types import Frame

TIMEOUT = 10.0  # seconds without data, after which a connection counts as lost
FIRST, LONGEST = 0.5, 30.0  # seconds before the first attempt to reconnect; each pause is twice the one before

_URL = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|srt|rtp)://.+", re.IGNORECASE)
_SERVER = re.compile(r"([\w.-]+|\[[\da-fA-F:.%]+\])(:\d*)?")
_SECRET = re.compile(r"(?i)(user\w*?|login|pass\w*?|pwd|token|secret|\w*?key)=[^/&;]*")
_DEVICE = re.compile(r"/dev/video\d+")

log = logging.getLogger(__name__)


def is_live(source: str) -> bool:
    """Return whether a source is a network stream, a camera or a pipe (- is standard input), not a file."""
    return source == "-" or bool(_URL.fullmatch(source) or _DEVICE.fullmatch(source)) or Path(source).is_fifo()


def without_password(source: str) -> str:
    """Return a source as it may be shown and stored: without user, password and query.

    It hides rather too much than too little, as a password may hold any of `@/?#` that should have been escaped.
    """
    scheme, separator, rest = source.partition("://")
    if not separator:
        return source
    place, _, query = rest.partition("?")
    server = place.partition("/")[0]
    if "@" in query and (server == place or not _SERVER.fullmatch(server.rpartition("@")[2])):
        return f"{scheme}://"  # of user:pass?word@server
    if "@" in server or ":" in server:
        place = place.rpartition("@")[2]
    return f"{scheme}://" + _SECRET.sub(r"\1=", place.partition("#")[0])


class LiveVideo(Video):
    """A live source that can be iterated once; it reconnects where the connection is lost.

    What is lost or corrupt marks the next frame as damaged, without a message. The frames have no display matrix.
    The decoder has one thread, as more would add latency.

    Args:
        source: see `is_live`.
        motion: as of `Video`.
        reconnect: attempts in a row, with growing pauses, before the video ends; None for no limit. Pipes, and files
            behind an http address, end where they end.

    Attributes:
        reconnections: so far.

    Raises:
        UserError: nothing that can be read, an unknown `motion`, or motion="exact" where there is none.
    """

    def __init__(self, source: str, motion: MotionSource = "auto", reconnect: int | None = None) -> None:
        self._source, self._reconnect, self._stop = source, reconnect, Event()
        self.path = Path(without_password(source))
        self.on_damage, self.threads, self._asked, self._remedy = "continue", 1, motion, ""
        self.reconnections = 0
        self._opened = self._connect()
        container, stream = self._opened
        self._ends = (not _URL.fullmatch(source) and not _DEVICE.fullmatch(source)) or container.duration is not None
        try:
            self.info = self._describe(container, stream, None, motion)
        except BaseException:
            container.close()
            raise

    def stop(self) -> None:
        """End the video soon, called from another thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        offset, failures, opened = 0, 0, self._opened
        while True:
            first, index = offset, -1
            with opened[0]:
                for frame in self._frames(*opened, "mark"):
                    failures, index = 0, frame.index
                    damaged = frame.damaged or (offset > 0 and offset == first)
                    first = -1
                    yield replace(frame, index=offset + index, damaged=damaged)
                    if self._stop.is_set():
                        return
            offset += index + 1
            if self._ends or self._stop.is_set():
                return
            while True:
                if failures == self._reconnect:
                    log.warning("%s: did not come back in %d attempts; it ends here", self.path, failures)
                    return
                pause = min(FIRST * 2**failures, LONGEST)
                failures += 1
                log.warning("%s: connection lost; attempt %d in %.1f s", self.path, failures, pause)
                if self._stop.wait(pause):
                    return
                try:
                    opened = self._connect()
                    break
                except UserError:
                    continue
            self.reconnections += 1

    def _connect(self) -> tuple[InputContainer, VideoStream]:
        url, given = ("pipe:0" if self._source == "-" else self._source), {**LIMITS, "rtsp_transport": "tcp"}
        kind = "v4l2" if _DEVICE.fullmatch(self._source) else None
        try:
            container = av.open(url, format=kind, metadata_errors="replace", options=given, timeout=TIMEOUT)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise UserError(
                f"video '{self.path}' cannot be read ({reason(error)}); check the address, and that it is running"
            ) from error
        try:
            return container, best_stream(container, self.path, 1)
        except BaseException:
            container.close()
            raise
