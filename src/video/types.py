"""Types shared by everything that reads, writes or follows videos."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError, check_choice, check_range

CODECS = ("h264", "mpeg4", "hevc")
# of x264 and x265
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")


@dataclass(frozen=True)
class Frame:
    """One displayed frame of a video.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        frame_type: "I", "P", "B", or "?" where the decoder does not say.
        vectors: (N, 6) float32 rows [x0, y0, w, h, dx, dy] in pixels: top-left corner and size of a block,
            and its displacement to the previous displayed frame, x_previous = x + dx. Intra blocks have
            no row. None where no motion is known: an I frame of the codec, the first frame, or not asked for.
        pts: presentation time in seconds.
        index: display order, from 0 at the start of the video.
        damaged: the decoder lost data here; make it a keyframe rather than trust its motion.
    """

    image: NDArray[np.uint8]
    frame_type: str
    vectors: NDArray[np.float32] | None
    pts: Fraction
    index: int
    damaged: bool = False


@dataclass(frozen=True)
class MotionField:
    """A dense motion field to an earlier frame.

    Attributes:
        field: (2, H, W) float32 pixels (x, y): x_earlier = x + field(x).
        valid: (H, W) bool, false where the way back passes an intra block or leaves the frame.
    """

    field: NDArray[np.float32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class CodecSettings:
    """Codec settings of a clip: one I frame every `gop` frames, all others P with the previous frame as reference.

    Attributes:
        codec: "h264", "mpeg4" or "hevc" (which has no motion vectors that FFmpeg exports).
        gop: frames from one I frame to the next, at least 1.
        fps: frames per second.
        crf: constant quality of x264 / x265, 0..51 (lower is better), where no bitrate is given; not for mpeg4.
        bitrate: mean rate in kbit/s; takes the place of crf.
        preset: speed preset of x264 / x265; mpeg4 has none and ignores it.

    Raises:
        UserError: an unknown codec or preset, a value out of its range, or neither crf nor bitrate.
    """

    codec: str
    gop: int
    fps: Fraction | int
    crf: float | None = None
    bitrate: int | None = None
    preset: str = "medium"

    def __post_init__(self) -> None:
        check_choice("video.codec", self.codec, CODECS)
        check_choice("video.preset", self.preset, PRESETS)
        if self.gop < 1:
            raise UserError(f"gop {self.gop} is below 1; give the number of frames between keyframes")
        if self.fps <= 0:
            raise UserError(f"fps {self.fps} is not positive; give the frame rate of the video")
        if self.crf is not None:
            check_range(0 <= self.crf <= 51, "video.crf", self.crf, "a quality from 0 (lossless) to 51")
        if self.bitrate is not None:
            check_range(self.bitrate > 0, "video.bitrate", self.bitrate, "kbit/s above 0")
            object.__setattr__(self, "crf", None)  # so that equal videos have equal settings
        elif self.crf is None:
            raise UserError("neither crf nor bitrate is given; set video.crf, or video.bitrate in kbit/s")
        elif self.codec == "mpeg4":
            raise UserError("mpeg4 has no constant-quality mode; set bitrate (kbit/s) instead of crf")
        elif not 0 <= self.crf <= 51:
            raise UserError(f"crf {self.crf} is outside 0..51; give about 18 for fine, 23 for usual, 30 for coarse")
