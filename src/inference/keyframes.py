"""Choose the keyframes of a video, and chain the motion of the other frames to them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from src.video.motion.field import MotionChain
from src.video.types import Frame, MotionField


class Plan(NamedTuple):
    """Treatment of a frame.

    Attributes:
        motion: to the latest keyframe; None: the frame is a keyframe itself.
        warp_only: as of `FrameInput`.
        probe: of a keyframe, motion to the one before: what its labels would have been without it is to be found, too.
        probe_nonkey: by a network's run, beside the warped labels.
    """

    motion: MotionField | None
    warp_only: bool = False
    probe: MotionField | None = None
    probe_nonkey: bool = False

    @property
    def kind(self) -> str:
        """Kind of the frame: "key", "nonkey" or "warp"."""
        return "key" if self.motion is None else "warp" if self.warp_only else "nonkey"


class KeyedMotion:
    """Follows a video frame by frame.

    Keyframes are the first frame, the video's own I frames, damaged frames, frames whose motion was lost or
    leads back nowhere (no valid pixel, as at a scene cut coded without I frame), and the frame `max_gop`
    frames after the last keyframe.

    Args:
        max_gop: frames from one keyframe to the next at most; None: no limit.
        all_intra: the video has I frames only, which then do not mark where a scene begins.
        early: frames that the second keyframe comes earlier, up to max_gop - 1.

    Attributes:
        max_gop: as given.
    """

    def __init__(self, max_gop: int | None, all_intra: bool = False, early: int = 0) -> None:
        self._chain, self.max_gop, self._all_intra, self._early = MotionChain(), max_gop, all_intra, early
        self._left: float = 0  # frames that may still follow the latest keyframe

    def plan(self, frame: Frame, skipped: bool = False) -> Plan:
        """Return what is done with the next frame; of a skipped one only its motion is used."""
        return Plan(self.update(frame, skipped))

    def learn(self, warped: float, nonkey: float | None) -> None:
        """Take note of what a probe found, shares 0..1 of the labels that differ from the keyframe's."""

    def took(self, plan: Plan, planning: float, step: float, whole: float) -> None:
        """Take note of the milliseconds of the latest frame: its plan, its labels, and these with its probe."""

    def update(self, frame: Frame, skipped: bool = False) -> MotionField | None:
        """Return the motion of the next frame to the latest keyframe; None if it is a keyframe itself.

        A frame that is skipped, as the network will not see it, is none; where it would be one, the next frame is.
        """
        if self._all_intra:
            frame = replace(frame, frame_type="?")
        motion = self._chain.update(frame)
        cut_off = frame.damaged or frame.vectors is None or not motion.valid.any()
        if self._left > 0 and frame.frame_type != "I" and not cut_off:
            self._left -= 1
            return motion
        if skipped:
            self._left = 0  # the next frame is one
            return motion
        self._restart(frame)
        return None

    def _restart(self, frame: Frame) -> None:
        """Make the frame, which has just been followed, a keyframe."""
        self._chain.reset()  # and again, with this frame as the start
        self._chain.update(frame)
        self._left = float("inf") if self.max_gop is None else self.max_gop - 1 - self._early
        self._early = 0
