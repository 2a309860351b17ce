from __future__ import annotations

import os
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from src.errors import UserError
from src.video.motion.field import rasterise, warp
from src.video.reading.decode import Video
from src.video.reading.live import LiveVideo
from src.video.types import Frame
from src.video.vectors.transcoded import Transcoder
from tests.support.videos import pan, write

FOREIGN = {  # B frames and several references, or no vectors that FFmpeg exports
    "h264": ("libx264", {}, "film.mkv"),
    "hevc": ("libx265", {"x265-params": "log-level=none:pools=none:keyint=7:min-keyint=7"}, "film.mkv"),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "film.webm"),
    "mjpeg": ("mjpeg", {"qmin": "2", "qmax": "2"}, "film.mkv"),
}


def same(one: Frame, other: Frame) -> bool:
    facts = [(f.index, f.pts, f.frame_type, f.damaged) for f in (one, other)]
    return facts[0] == facts[1] and np.array_equal(one.image, other.image)


@pytest.mark.parametrize("name", FOREIGN)
def test_frames_are_those_of_the_source_and_only_the_first_has_no_vectors(tmp_path: Path, name: str) -> None:
    codec, options, file = FOREIGN[name]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    times = [0, 40, 50, 200, 203, 300, 301, 302, 340, 400, 410, 555]
    path = write(tmp_path / file, pan(12, 96, 128, (3, 2)), codec, options, pixels, fps=1000, pts=times)
    found, plain = list(Video(path, "transcode")), list(Video(path, "none"))
    assert len(found) == 12
    assert all(same(one, other) for one, other in zip(found, plain, strict=True))
    assert [frame.vectors is None for frame in found] == [True] + [False] * 11


@pytest.mark.parametrize("size", [(96, 128), (61, 83)])
@pytest.mark.parametrize("step", [(3, 2), (-2.5, 0.5), (0, -4), (11, -9)])
def test_motion_of_a_pan_is_its_step(tmp_path: Path, size: tuple[int, int], step: tuple[float, float]) -> None:
    path = write(tmp_path / "film.mkv", pan(5, *size, step), "ffv1", pixels="bgr0")
    for frame in list(Video(path, "transcode"))[1:]:
        motion = rasterise(np.asarray(frame.vectors), *size)
        assert motion.valid.mean() > 0.75
        found = motion.field[:, motion.valid]
        assert np.array_equal(np.median(found, 1), step)
        assert np.mean(np.abs(found - np.reshape(step, (2, 1))).max(0) <= 0.5) > 0.8


def test_fractions_of_a_pixel_are_followed_that_the_block_search_rounds(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", pan(4, 96, 128, (1.5, 0.5)), "ffv1", pixels="bgr0")

    def error(motion: str) -> float:
        before, after = list(Video(path, motion))[2:]  # type: ignore[arg-type]
        hop = rasterise(np.asarray(after.vectors), 96, 128)
        return float(np.square(warp(before.image, hop).astype(float) - after.image)[hop.valid].mean())

    assert error("transcode") < 0.2 * error("estimate")


def test_no_frame_waits_for_a_later_one() -> None:
    search = Transcoder(96, 128)
    for number, image in enumerate(pan(40, 96, 128, (3, 2))):
        rows = search.update(av.VideoFrame.from_ndarray(image, "rgb24"))
        assert (rows is None) == (number == 0)


def test_a_pipe_gives_what_its_file_gives(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", pan(6, 96, 128, (3, 2)), *FOREIGN["h264"][:2])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sender = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    sender.start()
    try:
        live = list(LiveVideo(str(pipe), "transcode"))
    finally:
        sender.join()
    for one, other in zip(live, Video(path, "transcode"), strict=True):
        assert same(one, other)
        assert one.vectors is None or np.array_equal(one.vectors, np.asarray(other.vectors))


def test_frames_that_the_encoder_cannot_take_are_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", [np.zeros((16, 16400, 3), np.uint8)] * 2, "ffv1", pixels="bgr0")
    with pytest.raises(UserError, match=r"16400x16 cannot be encoded.*set video\.motion=estimate"):
        list(Video(path, "transcode"))
    assert len(list(Video(path, "estimate"))) == 2


def test_damage_ends_it_with_the_one_message(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mkv", pan(30, 96, 128, (3, 2)), *FOREIGN["h264"][:2])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match="is damaged at frame"):
        list(Video(path, "transcode"))
    continued = list(Video(path, "transcode", on_damage="continue"))
    assert all(same(one, other) for one, other in zip(continued, Video(path, "none", "continue"), strict=True))
