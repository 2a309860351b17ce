"""Small videos made with ffmpeg, each read by us and by ffmpeg: number of frames, times, pixels, random access."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.campaigns.video_recipes import Recipe, ffmpeg
from src.errors import UserError
from src.video.reading.colour import UNSPECIFIED
from src.video.reading.container import first_frame, open_video
from src.video.reading.decode import Video
from src.video.reading.random_access import count_frames, read_frames
from src.video.types import Frame

NEAR = 4.0  # mean difference of RGB between two versions of FFmpeg's conversion, chroma at half the resolution

HIGH_DEFINITION = 1280
HARMED = 4  # frames beside damage that one version of FFmpeg gives and another does not

Images = NDArray[np.uint8]


@dataclass
class Reference:
    """A video as ffmpeg decodes it: (T, H, W, 3) RGB and seconds."""

    images: Images
    times: list[Fraction] = field(default_factory=list)


def reference(path: Path, matrix: str = "auto") -> Reference:
    """Decode a video with ffmpeg, as far as it can, with a matrix of colours."""
    raw, times = path.with_name("reference.rgb"), path.with_name("reference.txt")
    scaler = f"scale=in_color_matrix={matrix}:flags=bilinear+accurate_rnd+full_chroma_int:interl=0,format=rgb24"
    each = ["-an", "-sn", "-dn", "-vsync", "passthrough", "-enc_time_base", "-1", "-vf", scaler]
    outputs = [*each, "-f", "rawvideo", raw, *each, "-f", "framemd5", times]
    for leftover in (raw, times):
        leftover.unlink(missing_ok=True)
    ffmpeg("-copyts", "-i", path, *outputs, check=False)
    base, size, found = Fraction(1), (0, 0), []
    for line in times.read_text().splitlines() if times.exists() else []:
        if line.startswith("#tb"):
            base = Fraction(line.split()[-1])
        elif line.startswith("#dimensions"):
            width, height = line.split()[-1].split("x")
            size = int(height), int(width)
        elif not line.startswith("#"):
            found.append(int(line.split(",")[2]) * base)
    if not found:
        return Reference(np.zeros((0, 0, 0, 3), np.uint8))
    return Reference(np.fromfile(raw, np.uint8).reshape(len(found), *size, 3), found)


def _names_matrix(path: Path) -> bool:
    try:
        container, stream = open_video(path)
    except UserError:
        return False
    with container:
        frame = first_frame(container, stream)
        return frame is not None and frame.colorspace != UNSPECIFIED


def differences(recipe: Recipe, path: Path) -> list[str]:
    """Compare a video as we read it with ffmpeg's; name each difference, explained ones in brackets."""
    # Where a video names no matrix, ffmpeg takes BT.601 for all; players and we BT.709 above standard definition.
    is_high = int(recipe.size.split("x")[0]) >= HIGH_DEFINITION
    expected = reference(path, "bt709" if is_high and not _names_matrix(path) else "auto")
    try:
        frames = list(Video(path, "none", "continue"))
    except UserError as error:
        return [] if not len(expected.images) else [f"rejected: {error}"]
    wrong = []
    if recipe.harm is None:
        try:
            list(Video(path, "none"))
        except UserError as error:
            wrong.append(f"sound, but {error}")
    sound = [frame for frame in frames if not frame.damaged]
    wrong += _counts_and_times(recipe, frames, expected)
    if recipe.harm is None and len(frames) == len(expected.images):
        wrong += _pixels(frames, expected)
    return wrong + _random_access(path, frames, sound)


def _counts_and_times(recipe: Recipe, frames: list[Frame], expected: Reference) -> list[str]:
    if len(frames) != len(expected.images):
        how = f"{len(frames)} frames, {len(expected.images)} of ffmpeg"
        if recipe.harm is not None and abs(len(frames) - len(expected.images)) <= HARMED:
            return [f"({how}: versions of FFmpeg differ in what they give of a damaged frame)"]
        return [how]
    wrong = []
    shifts = {frame.pts - time for frame, time in zip(frames, expected.times, strict=True)}
    if shifts and max(map(abs, shifts)) > Fraction(1, 1000):
        ends = f"{float(frames[0].pts):.3f}..{float(frames[-1].pts):.3f} s, "
        ends += f"{float(expected.times[0]):.3f}..{float(expected.times[-1]):.3f} s of ffmpeg"
        if recipe.name.endswith(".avi"):
            constant = max(shifts) - min(shifts) < Fraction(1, 1000)
            why = "decoding times, which AVI has alone, start early" if constant else "ffmpeg guesses times of B frames"
            return [f"({ends}: {why})"]
        if any(after <= before for before, after in pairwise(expected.times)):
            return [f"({ends}: the times of the file do not rise, ffmpeg's neither)"]
        wrong.append(ends)
    return wrong


def _pixels(frames: list[Frame], expected: Reference) -> list[str]:
    if frames[0].image.shape != expected.images.shape[1:]:
        return [f"size {frames[0].image.shape[:2]}, {expected.images.shape[1:3]} of ffmpeg"]
    errors = [np.abs(f.image.astype(int) - e).mean() for f, e in zip(frames, expected.images, strict=True)]
    worst = int(np.argmax(errors))
    return [f"frame {worst} differs by {errors[worst]:.1f} of 255"] if errors[worst] > NEAR else []


def _random_access(path: Path, frames: list[Frame], sound: list[Frame]) -> list[str]:
    if count_frames(path) != frames[-1].index + 1:
        return [f"{count_frames(path)} frames by random access, {frames[-1].index + 1} by sequential"]
    for frame in sound:
        try:
            image = next(read_frames(path, frame.index, frame.index + 1))
        except UserError as error:
            return [f"random access: {error}"]
        if not np.array_equal(image, frame.image):
            return [f"random access to frame {frame.index} gives another image"]
    return []


def sweep(folder: Path, chosen: list[Recipe]) -> dict[str, list[str]]:
    """Differences of each video; those that this ffmpeg cannot make are left out, by name."""
    log = logging.getLogger(__name__)
    found = {}
    for recipe in chosen:
        try:
            path = recipe.make(folder)
        except RuntimeError as error:
            log.warning("not made: %s", error)
            continue
        try:
            found[recipe.name] = differences(recipe, path)
        except Exception as error:  # a defect, to be shown beside the others
            found[recipe.name] = [f"{type(error).__name__}: {error}"]
        path.unlink()
    return found
