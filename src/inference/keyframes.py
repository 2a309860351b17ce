"""Choose the keyframes of a video, and chain the motion of the other frames to them."""

from __future__ import annotations

from dataclasses import replace

from src.video.motion.field import MotionChain
from src.video.types import Frame, MotionField


class KeyedMotion:
    """Follows a video frame by frame.

    Keyframes are the first frame, the video's own I frames, damaged frames, frames whose motion was lost or
    leads back nowhere (no valid pixel, as at a scene cut coded without I frame), and the frame `max_gop`
    frames after the last keyframe.

    Args:
        max_gop: frames from one keyframe to the next at most.
        all_intra: the video has I frames only, which then do not mark where a scene begins.
        early: frames that the second keyframe comes earlier, up to max_gop - 1.
    """

    def __init__(self, max_gop: int, all_intra: bool = False, early: int = 0) -> None:
        self._chain, self._max_gop, self._all_intra, self._early = MotionChain(), max_gop, all_intra, early
        self._left = 0  # frames that may still follow the latest keyframe

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
        self._chain.reset()  # and again, with this frame as the start
        self._chain.update(frame)
        self._left, self._early = self._max_gop - 1 - self._early, 0
        return None
