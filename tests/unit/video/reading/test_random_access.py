"""Frames by index, from films of other people's encoders."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from src.errors import UserError
from src.video.reading.decode import Video
from src.video.reading.random_access import count_frames, read_frames
from tests.support.videos import pan, write

FRAMES = pan(20, 48, 64, (2, 1))
KINDS = [
    ("film.mp4", "libx264", {"x264-params": "keyint=6:bframes=3:open-gop=1", "crf": "10"}, None),
    ("film.mkv", "libx265", {"x265-params": "keyint=5:bframes=2:log-level=error", "crf": "10"}, None),
    ("film.avi", "mjpeg", {"qscale": "2"}, None),
    ("film.avi", "mpeg4", {"g": "7", "qscale": "2"}, None),
    ("film.mov", "mpeg2video", {"g": "6", "bf": "2", "qscale": "2"}, None),
    ("film.mp4", "libx264", {"crf": "10"}, [i * i for i in range(20)]),  # variable frame rate
]


@pytest.mark.parametrize(("name", "codec", "options", "pts"), KINDS)
def test_any_frame_of_any_film(tmp_path: Path, name: str, codec: str, options: dict, pts: list[int] | None) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write(tmp_path / name, FRAMES, codec, options, pixels=pixels, fps=25, pts=pts)
    assert count_frames(path) == 20
    for start, stop in ((0, 3), (5, 7), (6, 20), (19, 20)):
        found = list(read_frames(path, start, stop))
        assert len(found) == stop - start
        for index, image in enumerate(found, start=start):
            near = range(max(0, index - 2), min(20, index + 3))
            errors = [np.abs(image.astype(int) - FRAMES[n]).mean() for n in near]
            assert near[int(np.argmin(errors))] == index


B_FRAMES = {"x264-params": "keyint=6:bframes=2:open-gop=1", "crf": "10"}
SUFFIXES = [
    ("film.ts", "libx264", B_FRAMES),
    ("film.ts", "mpeg2video", {"g": "6", "bf": "2"}),
    ("film.mpg", "mpeg1video", {"g": "6", "bf": "2"}),
    ("film.avi", "libx264", B_FRAMES),
    ("film.avi", "mpeg4", {"g": "6", "bf": "2"}),
    ("film.mp4", "mpeg4", {"g": "6", "bf": "2"}),
    ("film.mxf", "mpeg2video", {"g": "6", "bf": "2"}),
    ("film.webm", "libvpx", {"g": "6", "auto-alt-ref": "1", "lag-in-frames": "8", "b": "200k"}),
    ("film.mkv", "libx264", {"x264-params": "keyint=8:intra-refresh=1:bframes=0"}),
    ("film.ts", "libx264", {"x264-params": "keyint=8:intra-refresh=1:bframes=0"}),
    ("film.m4v", "mpeg4", {"g": "6"}),
    ("film.mov", "prores_ks", {}),
]


@pytest.mark.parametrize(("name", "codec", "options"), SUFFIXES)
def test_random_access_is_sequential_access(tmp_path: Path, name: str, codec: str, options: dict) -> None:
    pixels = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    path = write(tmp_path / name, FRAMES, codec, options, pixels=pixels, fps=25)
    same_as_sequential(path, len(FRAMES))


def same_as_sequential(path: Path, count: int) -> None:
    frames = [frame.image for frame in Video(path, "none")]
    assert len(frames) == count_frames(path) == count
    for index, image in enumerate(frames):
        np.testing.assert_array_equal(next(read_frames(path, index)), image)
    np.testing.assert_array_equal(list(read_frames(path)), frames)


@pytest.mark.parametrize("hidden", [3, 6, 8])
def test_frames_before_the_start_of_an_edit_list_are_hidden(tmp_path: Path, hidden: int) -> None:
    """As `ffmpeg -ss 0.3 -i whole.mp4 -c copy trimmed.mp4` writes it."""
    whole = write(
        tmp_path / "whole.mp4", FRAMES, "libx264", {"x264-params": "keyint=6:bframes=0:ref=1:weightp=0"}, fps=25
    )
    path = tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                shift = round(hidden / 25 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                output.mux(packet)
    same_as_sequential(path, len(FRAMES) - hidden)
    shown = [frame.image for frame in Video(whole, "none")][hidden:]
    np.testing.assert_array_equal([frame.image for frame in Video(path, "none")], shown)
    first, second, *_ = Video(path, "exact")
    assert first.vectors is None, "it would lead to a hidden frame"
    assert second.frame_type == "I" or second.vectors is not None


def test_repeated_times_do_not_matter(tmp_path: Path) -> None:
    times = sorted([*range(18), 5, 5])
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for index, image in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = index
            for packet in stream.encode(frame):
                packet.pts = packet.dts = times[index] * 40
                packet.time_base = Fraction(1, 1000)
                output.mux(packet)
    assert len({frame.pts for frame in Video(path, "none")}) == 18
    same_as_sequential(path, len(FRAMES))


def test_frames_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", FRAMES, "libx264")
    with pytest.raises(UserError, match="has 20 frames"):
        list(read_frames(path, 18, 21))
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(400) + whole[middle + 400 :])
    with pytest.raises(UserError, match="damaged at frame"):
        list(read_frames(path))
    with pytest.raises(UserError, match="not a file"):
        count_frames(tmp_path / "absent.mp4")
