"""The raw videos of CamVid: which frame of which file is which labelled image, checked by comparing them."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.datasets.base import LabelledVideo
from src.data.datasets.files import ImageFile, VideoFile, file_fingerprint, reject_or_skip
from src.data.images import ImageArray, read_image
from src.errors import UserError
from src.video.reading.random_access import count_frames, read_frames

# Frame index in the video, from 0, minus the number in the still's name (AR-Seg's pre-processing counts from 1).
VIDEOS = {
    "0001TP": ("01TP_extract", -6660),
    "0006R0": ("0006R0", 1),
    "0016E5": ("0016E5", 1),
    "Seq05VD": ("0005VD", 1),
}
SUFFIXES = (".avi", ".mxf", ".mov", ".mp4", ".mkv")
CHECKED, AROUND = 4, 2  # stills of each video that are compared, with so many frames before and after
TIE = 0.002  # of correlation: in front of a red light all frames look the same
_NAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")

log = logging.getLogger(__name__)


def is_name(stem: str) -> bool:
    """Check that an image is named as CamVid names them: video and frame number."""
    return _NAME.fullmatch(stem) is not None


def parse_name(stem: str) -> tuple[str, int]:
    """Video and frame number of a name that `is_name`."""
    match = _NAME.fullmatch(stem)
    assert match is not None
    return match[1], int(match[2])


def raw_videos(root: Path, stills: list[ImageFile], fps: int, on_damage: str) -> list[LabelledVideo]:
    """List a video for each raw file that labelled images come from, labelled at their frames.

    Under on_damage="skip" videos that cannot be used are left out, with a warning each.

    Raises:
        UserError: a video is missing, ends too early, or does not show the labelled images where it should.
    """
    videos: list[LabelledVideo] = []
    for name, group in groupby(stills, key=lambda still: parse_name(still.name)[0]):
        path, offset = _find(root, name), VIDEOS[name][1]
        indexed = tuple((parse_name(still.name)[1] + offset, still) for still in group)
        chosen = [indexed[i] for i in np.linspace(0, len(indexed) - 1, min(CHECKED, len(indexed))).astype(int)]
        try:
            _check_length(path, indexed[-1][0], indexed[-1][1].name)
            check_alignment(path, tuple((index, still.image) for index, still in chosen), str(file_fingerprint(path)))
        except UserError as error:
            reject_or_skip(str(error), on_damage)
            continue
        labels = tuple((index, still.labels) for index, still in indexed)
        videos.append(VideoFile(name, fps, labels, indexed[0][1].coding, path))
    return videos


@lru_cache
def check_alignment(video: Path, stills: tuple[tuple[int, Path], ...], version: str) -> None:
    """Compare stills with the frames around their index; what fits best is logged, once for each `version` of a video.

    Raises:
        UserError: other frames fit better than those at the indices.
    """
    scores = np.mean([_similarity(video, index, still) for index, still in stills], axis=0)
    best = int(np.nanargmax(scores)) - AROUND
    at, found = float(scores[AROUND]), float(np.nanmax(scores))
    if found - at > TIE:
        raise UserError(
            f"video '{video}' shows its labelled images {best:+d} frames from where they belong (correlation "
            f"{found:.3f} there, {at:.3f} here); it was cut or its frame rate changed, take the original video"
        )
    log.info(
        "%s: %d labelled images compared with the video, correlation %.3f at their frames", video.name, len(stills), at
    )


def _similarity(video: Path, index: int, still: Path) -> list[float]:
    """Correlation of a still with the frames around `index`; NaN where there are none."""
    image = read_image(still)
    first, last = max(0, index - AROUND), min(count_frames(video) - 1, index + AROUND)
    correlation = [float("nan")] * (2 * AROUND + 1)
    for number, frame in enumerate(read_frames(video, first, last + 1), start=first):
        if frame.shape != image.shape:
            raise UserError(
                f"image '{still}' is {image.shape[1]}x{image.shape[0]}, video '{video}' is {frame.shape[1]}x"
                f"{frame.shape[0]}; take both from the official release"
            )
        correlation[number - index + AROUND] = float(np.corrcoef(_grey(frame).ravel(), _grey(image).ravel())[0, 1])
    return correlation


def _grey(image: ImageArray) -> NDArray[np.uint8]:
    """At half the size, where interlacing and noise matter less."""
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY), np.uint8)


def _find(root: Path, name: str) -> Path:
    stem = VIDEOS[name][0]
    found = [p for p in sorted(root.iterdir()) if p.suffix.lower() in SUFFIXES and p.stem in (stem, name)]
    if len(found) != 1:
        what = f"has no raw video {stem}" if not found else f"has several videos {stem}"
        raise UserError(
            f"data.root '{root}' {what} ({', '.join(SUFFIXES)}); put the one from "
            "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid beside 701_StillsRaw_full/, or use data=camvid"
        )
    return found[0]


def _check_length(video: Path, index: int, still: str) -> None:
    frames = count_frames(video)
    if index >= frames:
        raise UserError(f"video '{video}' has {frames} frames, image '{still}' is its frame {index}; copy it again")
