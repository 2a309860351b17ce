"""RGB to and from the coded colours: which matrix, which range, how many bits."""

from __future__ import annotations

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray

BT709, UNSPECIFIED, BT601, BT2020 = 1, 2, 6, 9  # matrix coefficients as coded (ITU-T H.273, table 4)
_FULL_RANGE_FORMATS = ("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p")
_SCALER = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_SUBSAMPLER = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


def matrix_by_size(height: int, width: int) -> Colorspace:
    """The matrix where a video does not name one: BT.709 above standard definition, else BT.601.

    Standard definition is at most 576 lines of less than 1280 pixels, the rule common players follow.
    """
    return Colorspace.ITU709 if width >= 1280 or height > 576 else Colorspace.ITU601


def to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a decoded frame of any pixel format, its matrix and range honoured.

    A video without range is taken as limited. High dynamic range is not tone-mapped.
    """
    if frame.colorspace == BT709:
        matrix = Colorspace.ITU709
    elif frame.colorspace == BT2020:
        matrix = Colorspace.BT2020
    elif frame.colorspace == UNSPECIFIED:
        matrix = matrix_by_size(frame.height, frame.width)
    else:  # 470BG, 170M and their like share the BT.601 coefficients
        matrix = Colorspace.ITU601
    full = frame.color_range == ColorRange.JPEG or frame.format.name in _FULL_RANGE_FORMATS
    return frame.to_ndarray(  # type: ignore[return-value]  # rgb24 is uint8
        format="rgb24",
        src_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_SCALER,
        threads=1,
    )


def from_rgb(image: NDArray[np.uint8]) -> av.VideoFrame:
    """A yuv420p frame of limited range, matrix by size, tagged; (H, W, 3) with even H and W."""
    matrix = matrix_by_size(*image.shape[:2])
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SUBSAMPLER,
        threads=1,
    )
    return frame


def tag_colours(context: VideoCodecContext, height: int, width: int) -> None:
    """Name matrix, primaries, transfer and range of `from_rgb` frames in an encoder's stream."""
    standard = matrix_by_size(height, width) == Colorspace.ITU709
    context.colorspace = BT709 if standard else BT601
    context.color_primaries = ColorPrimaries.BT709 if standard else ColorPrimaries.SMPTE170M
    context.color_trc = ColorTrc.BT709 if standard else ColorTrc.SMPTE170M
    context.color_range = ColorRange.MPEG
