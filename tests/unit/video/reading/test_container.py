"""Facts that a video does not need do not decide whether it opens; those that containers get wrong are not believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from src.errors import UserError
from src.video.reading import container as container_module
from src.video.reading.decode import Video
from src.video.reading.random_access import count_frames, read_frames
from tests.support.videos import ONE_REFERENCE, pan, write

COUNT = 8
IMAGES = pan(COUNT, 48, 64, (2, 1))


def make(path: Path, **tags: str) -> Path:
    """A sound video with tags."""
    with av.open(str(path), "w") as output:
        output.metadata.update(tags)
        stream = output.add_stream("libx264", rate=25, options={**ONE_REFERENCE, "g": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index, image in enumerate(IMAGES):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def patch(path: Path, change: Callable[[bytearray], object]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def replace(old: bytes, new: bytes) -> Callable[[bytearray], object]:
    def change(data: bytearray) -> None:
        assert len(old) == len(new)
        at = data.index(old)
        data[at : at + len(old)] = new

    return change


def wipe_matrix(data: bytearray) -> None:
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = bytes(36)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_tags_that_are_not_utf8_do_not_matter(tmp_path: Path, suffix: str) -> None:
    path = patch(make(tmp_path / f"film{suffix}", title="STRASSE"), replace(b"STRASSE", b"Stra\xdfe\x83"))
    assert len(list(Video(path, "none"))) == count_frames(path) == COUNT


@pytest.mark.parametrize(
    "comment", ["visible size unknown", "visible size 60000x60000", "visible size x", "visible size 0x0"]
)
def test_comments_that_look_like_a_size_do_not_matter(tmp_path: Path, comment: str) -> None:
    path = make(tmp_path / "film.mp4", comment=comment)
    assert [frame.image.shape for frame in Video(path, "none")] == [(48, 64, 3)] * COUNT


def test_durations_that_are_wrong_do_not_matter(tmp_path: Path) -> None:
    path = make(tmp_path / "film.mkv")
    for wrong in (b"09:00:00.320000000", b"what is a duration"):
        patch(path, replace(b"00:00:00.320000000", wrong))
        assert len(list(Video(path, "none"))) == COUNT
        patch(path, replace(wrong, b"00:00:00.320000000"))


def test_a_display_matrix_of_zeros_turns_nothing(tmp_path: Path) -> None:
    path = patch(make(tmp_path / "film.mp4"), wipe_matrix)
    assert next(iter(Video(path, "none"))).image.shape == (48, 64, 3)


def test_side_data_of_an_unknown_kind_does_not_matter() -> None:
    class Odd:
        @property
        def side_data(self) -> None:
            raise ValueError("49 is not a valid Type")

    assert container_module.side_data(Odd(), "DISPLAYMATRIX") is None  # type: ignore[arg-type]


def test_a_destroyed_first_packet_is_not_the_end(tmp_path: Path) -> None:
    path = make(tmp_path / "film.mp4")
    with av.open(str(path)) as source:
        first = next(source.demux(video=0))
        place, size = first.pos, first.size
    assert place is not None
    sound = [frame.image for frame in Video(path, "none")]
    path.write_bytes(path.read_bytes()[: place + 4] + bytes(size - 4) + path.read_bytes()[place + size :])
    for policy in ("stop", "continue"):
        frames = list(Video(path, "none", policy))
        np.testing.assert_array_equal([frame.image for frame in frames[-4:]], sound[4:])


def test_counts_that_the_container_states_are_not_believed(tmp_path: Path) -> None:
    """FFmpeg copies MP4 to AVI with twice the frame count."""
    path = make(tmp_path / "film.avi")

    def promise(data: bytearray) -> None:
        data[data.index(b"strh") + 40] = 99  # dwLength

    patch(path, promise)
    with av.open(str(path)) as stated:
        assert stated.streams.video[0].frames == 99
    assert len(list(Video(path, "none"))) == count_frames(path) == COUNT


@pytest.mark.parametrize("suffix", [".mkv", ".ogv"])
def test_a_file_that_ends_inside_its_container_is_cut_short(tmp_path: Path, suffix: str) -> None:
    codec = "libx264" if suffix == ".mkv" else "libvpx"
    path = write(tmp_path / f"film{suffix}", pan(30, 48, 64, (2, 1)), codec, {"g": "4"})
    assert len(list(Video(path, "none"))) == 30
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    with pytest.raises(UserError, match="cut short"):
        list(Video(path, "none"))


def test_frames_of_avi_have_the_time_of_their_slot(tmp_path: Path) -> None:
    slots = [0, 1, 2, 7, 8, 12]
    path = write(tmp_path / "film.avi", IMAGES[:6], "libx264", ONE_REFERENCE, fps=25, pts=slots)
    assert [frame.pts * 25 for frame in Video(path, "none")] == slots
    for index, image in enumerate(read_frames(path)):
        np.testing.assert_array_equal(image, next(read_frames(path, index)))


def test_the_default_stream_is_the_video(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as output:
        streams = []
        for size in ((96, 64), (64, 48)):
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            streams.append(stream)
        streams[1].disposition = av.stream.Disposition.default
        for stream in streams:
            image = np.zeros((stream.height, stream.width, 3), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            output.mux(stream.encode())
    assert (Video(path, "none").info.height, Video(path, "none").info.width) == (48, 64)


def test_joined_transport_streams_are_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, start in (("a", 0), ("b", COUNT), ("c", 0)):
        times = list(range(start, start + COUNT))
        write(tmp_path / f"{name}.ts", IMAGES, "libx264", {**ONE_REFERENCE, "g": "4"}, fps=25, pts=times)
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join((tmp_path / f"{name}.ts").read_bytes() for name in "abc"))
    with caplog.at_level(logging.WARNING):
        frames = list(Video(path, "none"))
    assert not caplog.messages
    assert [frame.index for frame in frames] == list(range(3 * COUNT))
    assert not any(frame.damaged for frame in frames)
    np.testing.assert_array_equal(list(read_frames(path, 5, 20)), [frame.image for frame in frames[5:20]])
