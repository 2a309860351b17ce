"""Videos that arrive while they are read: cameras, network streams, pipes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from src.errors import UserError
from src.video.reading.container import LIMITS, best_stream, reason
from src.video.reading.damage import Policy
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


def _but_last_of_broken(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Frames, but the last one before an error: its packet may be cut."""
    held = None
    for frame in frames:
        if held is not None:
            yield held
        held = frame
    if held is not None:
        yield held


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
    The decoder has one thread, as more would add latency. A file behind an http address is read again from its
    start after a lost connection, and continues with the first frame that was not given.

    Args:
        source: see `is_live`.
        motion: as of `Video`.
        reconnect: attempts in a row, with growing pauses, before the video ends; None for no limit. Pipes end where
            they end.
        on_damage: where the attempts at a file behind an http address are used up, "stop" raises, "continue" warns.

    Attributes:
        reconnections: so far.

    Raises:
        UserError: nothing that can be read, an unknown `motion`, or motion="exact" where there is none; while
            iterating, a file that breaks off.
    """

    def __init__(
        self, source: str, motion: MotionSource = "auto", reconnect: int | None = None, on_damage: Policy = "continue"
    ) -> None:
        self._source, self._reconnect, self._stop = source, reconnect, Event()
        self.path = Path(without_password(source))
        self.on_damage, self.threads, self._asked, self._remedy = on_damage, 1, motion, ""
        self.reconnections = 0
        self._opened = self._connect()
        container, stream = self._opened
        is_remote = bool(_URL.fullmatch(source))
        self._is_file = is_remote and (container.duration is not None or container.size > 0)
        self._is_pipe = not is_remote and not _DEVICE.fullmatch(source)
        try:
            self.info = self._describe(container, stream, None, motion)
        except BaseException:
            container.close()
            raise

    def stop(self) -> None:
        """End the video soon, called from another thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        given, failures, opened = 0, 0, self._opened
        while True:
            start = 0 if self._is_file else given  # index of the first frame of this connection
            lost, is_broken = start > 0, False
            frames = self._frames(*opened, "mark")
            with opened[0]:
                try:
                    for frame in _but_last_of_broken(frames) if self._is_file else frames:
                        index = start + frame.index
                        if index >= given:
                            failures, given = 0, index + 1
                            yield replace(frame, index=index, damaged=frame.damaged or lost)
                            lost = False
                        if self._stop.is_set():
                            return
                except av.FFmpegError:
                    is_broken = True
            if self._is_pipe or (self._is_file and not is_broken):
                return
            while not self._stop.is_set():
                if failures == self._reconnect:
                    self._give_up(given, failures)
                    return
                pause = min(FIRST * 2**failures, LONGEST)
                failures += 1
                log.warning("%s: connection lost; attempt %d in %.1f s", self.path, failures, pause)
                self._stop.wait(pause)
                with suppress(UserError):
                    opened = self._connect()
                    self.reconnections += 1
                    break
            else:
                return

    def _give_up(self, given: int, attempts: int) -> None:
        if self._is_file and self.on_damage == "stop":
            raise UserError(
                f"video '{self.path}' breaks off after {given} frames, and did not come back in {attempts} attempts; "
                f"copy it here first, or set on_damage=continue"
            )
        log.warning("%s: did not come back in %d attempts; it ends after %d frames", self.path, attempts, given)

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
