from __future__ import annotations

import logging

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from src.errors import UserError
from src.video.reading.decode import Video
from src.video.reading.random_access import read_frames
from src.video.types import CodecSettings
from src.video.writing.encode import encode
from tests.support.videos import pan, write

H264, MPEG4 = CodecSettings("h264", 6, 15, crf=18), CodecSettings("mpeg4", 6, 15, bitrate=2000)
COUNT = 20


@pytest.fixture(params=[("h264", ".mp4"), ("h264", ".mkv"), ("mpeg4", ".mp4")], ids=str)
def film(request, tmp_path):
    """A sound film of 20 frames, and how to make a damaged copy of it."""
    codec, suffix = request.param
    path = tmp_path / f"film{suffix}"
    encode(pan(COUNT, 128, 160, (1.5, 0.5)), path, H264 if codec == "h264" else MPEG4)
    return path


def damaged(path, change):
    data = bytearray(path.read_bytes())
    changed = path.with_stem("damaged")
    changed.write_bytes(change(data))
    return changed


def flip(data):
    for place in np.random.default_rng(3).integers(len(data) // 10, len(data) * 8 // 10, 12):
        data[place] ^= 0x55
    return data


def wipe(data):
    middle = len(data) // 2
    data[middle : middle + len(data) // 20] = bytes(len(data) // 20)
    return data


@pytest.mark.parametrize("change", [flip, wipe])
def test_damage_stops_with_place_and_remedy(film, change):
    with pytest.raises(UserError, match=r"damaged at frame \d+ \(\d+\.\d\d s\): .*on_damage=continue"):
        list(Video(damaged(film, change)))


@pytest.mark.parametrize("change", [flip, wipe])
def test_damage_is_marked_and_later_frames_keep_their_index(film, change, caplog):
    with caplog.at_level(logging.WARNING):
        frames = list(Video(damaged(film, change), on_damage="continue"))
    assert any(frame.damaged for frame in frames)
    assert "is damaged at frame" in caplog.text
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    if film.suffix == ".mp4":  # Matroska loses whole packets where the file is wiped
        sound = {frame.index: frame.image for frame in Video(film)}
        last = frames[-1]
        assert last.index == COUNT - 1
        assert np.array_equal(last.image, sound[last.index])


def test_a_sound_film_has_no_damage(film, caplog):
    frames = list(Video(film, on_damage="continue"))
    assert not caplog.messages
    assert not any(frame.damaged for frame in frames)
    assert [frame.index for frame in frames] == list(range(COUNT))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_film_cut_short_is_noticed(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    write(path, pan(COUNT, 128, 160, (1.5, 0.5)), "libx264", {"g": "6"}, container=options)
    short = damaged(path, lambda data: data[: len(data) * 6 // 10])
    with pytest.raises(UserError, match="damaged at frame"):
        list(Video(short, motion="none"))
    assert 0 < len(list(Video(short, motion="none", on_damage="continue"))) < COUNT


def test_a_film_without_its_index_cannot_be_read(tmp_path):
    path = tmp_path / "film.mp4"
    encode(pan(COUNT, 128, 160, (1, 0)), path, H264)
    with pytest.raises(UserError, match="cut short or corrupt"):
        Video(damaged(path, lambda data: data[: len(data) // 2]))


def test_b_frames_and_open_gops_are_no_damage(tmp_path, caplog):
    options = {"x264-params": "bframes=3:open-gop=1:keyint=8"}
    for name in ("film.mp4", "film.mkv", "film.ts", "film.avi"):
        path = write(tmp_path / name, pan(COUNT, 128, 160, (1, 0)), "libx264", options)
        frames = list(Video(path, motion="none"))
        assert [frame.index for frame in frames] == list(range(COUNT)), name
        assert not any(frame.damaged for frame in frames)
    assert not caplog.messages


def test_a_film_that_starts_inside_a_gop_still_counts_from_zero(tmp_path):
    options = {"x265-params": "log-level=none:pools=none:bframes=3:open-gop=1:keyint=8:min-keyint=8"}
    path = write(tmp_path / "film.hevc", pan(COUNT, 128, 160, (1, 0)), "libx265", options)
    frames = list(Video(path, motion="none"))
    assert [frame.index for frame in frames] == list(range(COUNT))


def test_packets_missing_from_a_transport_stream_are_noticed(tmp_path):
    path = tmp_path / "film.ts"
    write(
        path, pan(COUNT, 128, 160, (1.5, 0.5)), codec="libx264", options={"bf": "0", "refs": "1", "g": "10", "qp": "10"}
    )
    data = path.read_bytes()
    half = len(data) // 2 // 188 * 188
    holed = tmp_path / "holed.ts"
    holed.write_bytes(data[:half] + data[half + 3 * 188 :])
    assert not any(frame.damaged for frame in Video(path, motion="none"))
    with pytest.raises(UserError, match="damaged at frame"):
        list(Video(holed, motion="none"))
    frames = list(Video(holed, motion="none", on_damage="continue"))
    assert any(frame.damaged for frame in frames)
    assert len(frames) >= COUNT - 4


def first_packet(path):
    """Offset and size of the first packet of an MP4."""
    with av.open(str(path)) as container:
        packet = next(container.demux(video=0))
        return packet.pos, packet.size


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libx265"])
def test_a_first_packet_that_is_destroyed_does_not_decide(tmp_path, caplog, codec):
    options = {"g": "6", "bf": "0", **({"x265-params": "log-level=none:pools=none"} if codec == "libx265" else {})}
    path = write(tmp_path / "film.mp4", pan(COUNT, 128, 160, (1.5, 0.5)), codec, options)
    keys = [frame.index for frame in Video(path, motion="none") if frame.frame_type == "I"]
    place, size = first_packet(path)
    for lost in (bytes(size - 4), b"\xff" * (size - 4)):
        first_bad = damaged(path, lambda data, lost=lost: data[: place + 4] + lost + data[place + size :])
        sound = list(Video(path, motion="none"))
        caplog.clear()
        frames = list(Video(first_bad, motion="none"))
        assert [frame.index for frame in frames] == list(range(keys[1], COUNT))
        assert [frame.pts for frame in frames] == [frame.pts for frame in sound[keys[1] :]]
        assert all(np.array_equal(one.image, sound[one.index].image) for one in frames)
        assert f"begins at frame {keys[1]}: before it, " in caplog.text
        assert all(np.array_equal(next(read_frames(first_bad, n, n + 1)), sound[n].image) for n in (keys[1], COUNT - 1))
        with pytest.raises(UserError, match="damaged at frame 0"):
            next(read_frames(first_bad, 0, 1))


def test_damage_after_a_frame_that_is_held_back_stops(tmp_path):
    """The decoder gives the first frame after it has seen the damage."""
    path = write(tmp_path / "film.mp4", pan(COUNT, 128, 160, (1.5, 0.5)), "libx264", {"bf": "3", "g": "12"})
    with av.open(str(path)) as container:
        second = list(container.demux(video=0))[1]
    wiped = damaged(path, lambda data: data[: second.pos] + bytes(second.size) + data[second.pos + second.size :])
    with pytest.raises(UserError, match="damaged at frame"):
        list(Video(wiped, motion="none"))


def test_frames_that_could_be_reordered_and_are_not_keep_their_index(tmp_path):
    """Headers promise B frames, and there are none."""
    path = tmp_path / "film.mp4"
    options = {"x264-params": "bframes=2:b-adapt=0:keyint=6:scenecut=0"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=15, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 160, 128, "yuv420p", 1
        for image in pan(COUNT, 128, 160, (1.5, 0.5)):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pict_type = PictureType.P
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    sound = list(Video(path, motion="none"))
    assert {frame.frame_type for frame in sound} == {"I", "P"}
    keys = [frame.index for frame in sound if frame.frame_type == "I"]
    place, size = first_packet(path)
    first_bad = damaged(path, lambda data: data[: place + 4] + bytes(size - 4) + data[place + size :])
    for policy in ("stop", "continue"):
        first, *_ = Video(first_bad, motion="none", on_damage=policy)
        assert (first.index, first.pts) == (keys[1], sound[keys[1]].pts)
