"""Synthetic films with known motion, and a writer for films as other people's encoders make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

Images = list[np.ndarray]


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random RGB texture: sharp enough to follow, smooth enough to sample between pixels."""
    coarse = np.random.default_rng(seed).integers(20, 236, (height // 8 + 2, width // 8 + 2, 1), dtype=np.uint8)
    grey = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([grey] * 3, axis=-1)


def pan(count: int, height: int, width: int, step: tuple[float, float], seed: int = 0) -> Images:
    """Frame t shows the texture from t * step on: content moves by -step, x_previous = x + step."""
    margin = int(np.ceil(max(map(abs, step)) * count)) + 8
    world = texture(height + 2 * margin, width + 2 * margin, seed)
    frames = []
    for t in range(count):
        shift = np.float32([[1, 0, margin + t * step[0]], [0, 1, margin + t * step[1]]])
        frames.append(cv2.warpAffine(world, shift, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP))
    return frames


def zoom(count: int, height: int, width: int, rate: float, seed: int = 0) -> Images:
    """Zooms in about the centre: x_previous - c = (x - c) * rate^-1 in world scale, rate > 1."""
    world, frames = texture(height, width, seed), []
    for t in range(count):
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, rate**t)
        frames.append(cv2.warpAffine(world, matrix, (width, height), flags=cv2.INTER_CUBIC))
    return frames


def occlusion(count: int, height: int, width: int, speed: int) -> Images:
    """A textured square that moves right over a still background."""
    background, square = texture(height, width, 1), 255 - texture(height // 2, height // 2, 2)
    frames = []
    for t in range(count):
        frame = background.copy()
        frame[height // 4 : height // 4 + square.shape[0], t * speed : t * speed + square.shape[1]] = square
        frames.append(frame)
    return frames


def write(
    path: Path,
    frames: Images,
    codec: str,
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    fps: int = 15,
    pts: Sequence[int] | None = None,
    setup: Callable[[Any], object] = lambda stream: None,
    container: dict[str, str] | None = None,
    **colours: Any,
) -> Path:
    """Write a film with any encoder of FFmpeg; `colours` go to the conversion from RGB."""
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.thread_count = pixels, 1
        setup(stream)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels, **colours)
            frame.pts, frame.time_base = (i if pts is None else pts[i]), Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


ONE_REFERENCE = {"x264-params": "bframes=0:ref=1:weightp=0", "crf": "10"}
