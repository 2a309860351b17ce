from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph
from numpy.typing import NDArray

from src.video.reading.damage import DecodedFrame
from src.video.vectors.block_search import BLOCK, REACH, luma_of, with_estimated_vectors

Images = list[NDArray[np.uint8]]


def drifting(height: int, width: int, count: int = 6) -> Images:
    """Noise of several scales that moves by other amounts in other places, and changes."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 4 + 20, width // 4 + 20), np.uint8).repeat(4, 0).repeat(4, 1)
    images = []
    for n in range(count):
        image = coarse[n : n + height, 3 * n : 3 * n + width].copy()
        image[:, width // 2 :] = coarse[4 * n : 4 * n + height, width // 2 + 5 - n : width + 5 - n]
        images.append(image // 2 + rng.integers(0, 20, image.shape, np.uint8))
    return images


def decoded(images: Images) -> Iterator[DecodedFrame]:
    for index, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="gray")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        yield DecodedFrame(frame, index, damaged=False)


def by_ffmpeg(images: Images) -> list[NDArray[np.int32]]:
    """[x centre, y centre, x centre before, y centre before] of the blocks of each frame but the first."""
    height, width = images[0].shape
    graph = Graph()
    source = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat("gray", width, height), time_base=Fraction(1, 25)
    )
    options = f"method=epzs:mb_size={BLOCK}:search_param={REACH}"
    graph.link_nodes(source, graph.add("mestimate", options), graph.add("buffersink"))
    graph.configure()
    found = []
    for number, one in enumerate(decoded([*images, images[-1]])):  # each comes out when the next arrives
        luma = av.VideoFrame.from_ndarray(luma_of(one.frame), format="gray")
        luma.pts, luma.time_base = number, Fraction(1, 25)
        graph.vpush(luma)
        if number > 0:
            blocks = graph.vpull().side_data["MOTION_VECTORS"].to_ndarray()
            blocks = blocks[blocks["source"] < 0]
            found.append(np.stack([blocks[name] for name in ("dst_x", "dst_y", "src_x", "src_y")], 1).astype(np.int32))
    return found[1:]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (45, 67), (8, 8), (8, 40), (33, 15)])
def test_vectors_are_those_of_ffmpegs_filter(height: int, width: int) -> None:
    images = drifting(height, width)
    first, *others = [rows for _, rows in with_estimated_vectors(decoded(images))]
    assert first is None
    for rows, expected in zip(others, by_ffmpeg(images), strict=True):
        assert rows is not None
        centres = rows[:, :2] + BLOCK // 2
        assert np.array_equal(np.hstack([centres, centres + rows[:, 4:]]), expected)
        cover = np.zeros((height, width), int)
        for x, y, w, h in rows[:, :4].astype(int):
            cover[y : y + h, x : x + w] += 1
        assert (cover == 1).all(), "blocks cover the frame, the last ones up to its border"


def test_a_change_of_size_and_tiny_frames_begin_anew() -> None:
    frames = [*decoded(drifting(16, 24, 2)), *decoded(drifting(7, 24, 2)), *decoded(drifting(24, 16, 2))]
    found = [None if rows is None else len(rows) for _, rows in with_estimated_vectors(frames)]
    assert found == [None, 6, 0, 0, None, 6]
