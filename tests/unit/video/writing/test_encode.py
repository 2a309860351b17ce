from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from src.errors import UserError
from src.video.reading.decode import Video
from src.video.types import CodecSettings
from src.video.writing.encode import encode
from tests.support.videos import pan

H264 = CodecSettings("h264", gop=5, fps=15, crf=20)
MPEG4 = CodecSettings("mpeg4", gop=5, fps=15, bitrate=1500)


def cut(count, height=64, width=96):
    """A film with a scene change in every frame but two, which tempts encoders to add I frames."""
    return [image for seed in range(count // 2) for image in pan(2, height, width, (1, 0), seed)]


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "hevc"])
@pytest.mark.parametrize("gop", [1, 4, 12])
def test_i_frames_come_exactly_every_gop_despite_scene_cuts(tmp_path, codec, gop):
    path = tmp_path / "clip.mp4"
    encode(cut(14), path, CodecSettings(codec, gop, 15, bitrate=1000, preset="ultrafast"))
    types = "".join(frame.frame_type for frame in Video(path, motion="none"))
    assert types == "".join("P" if i % gop else "I" for i in range(14))


@pytest.mark.parametrize("encoding", [H264, MPEG4], ids=["h264", "mpeg4"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("size", [(65, 96), (64, 97), (65, 97)])
def test_an_odd_size_comes_back_with_its_right_and_bottom_line(tmp_path, encoding, suffix, size):
    path, frames = tmp_path / f"clip{suffix}", pan(6, *size, (1, 0))
    encode(frames, path, encoding)
    film = Video(path)
    assert (film.info.height, film.info.width) == size
    for decoded, original in zip(film, frames, strict=True):
        assert decoded.image.shape == original.shape
        error = np.abs(decoded.image.astype(int) - original)
        assert error[-1].mean() < 8
        assert error[:, -1].mean() < 8


@pytest.mark.parametrize("encoding", [H264, MPEG4], ids=["h264", "mpeg4"])
def test_the_same_frames_give_the_same_bytes(tmp_path, encoding):
    frames = pan(8, 64, 96, (1.5, 0.5))
    encode(frames, tmp_path / "a.mp4", encoding)
    encode(iter(frames), tmp_path / "b.mp4", encoding)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_bitrate_and_quality_are_obeyed(tmp_path):
    frames, sizes = cut(12), []
    for encoding in (
        CodecSettings("h264", 12, 15, crf=10),
        CodecSettings("h264", 12, 15, crf=35),
        CodecSettings("h264", 12, 15, bitrate=30),
    ):
        encode(frames, tmp_path / "clip.mp4", encoding)
        sizes.append((tmp_path / "clip.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]
    assert abs(sizes[2] - 30_000 / 8 * 12 / 15) < 2000


@pytest.mark.parametrize(("size", "matrix"), [((240, 320), 6), ((720, 1280), 1)], ids=["601", "709"])
def test_colours_come_back_and_are_tagged(tmp_path, size, matrix):
    path = tmp_path / "clip.mp4"
    patches = np.uint8([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 120, 40]])
    image = np.repeat(np.repeat(patches[None], size[1] // 6 + 1, 1)[:, : size[1]], size[0], 0)
    encode([image], path, CodecSettings("h264", 12, 15, crf=1))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (matrix, 1)
    decoded = next(iter(Video(path))).image
    centres = (np.arange(6) + 0.5) * (size[1] // 6 + 1)
    visible = centres < size[1]
    at = centres[visible].astype(int)
    assert np.abs(decoded[size[0] // 2, at].astype(int) - image[0, at]).max() <= 3


def test_a_failure_leaves_neither_the_file_nor_a_temporary_one(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"the file of an earlier run")

    def frames():
        yield from pan(3, 64, 96, (1, 0))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(frames(), tmp_path / "clip.mp4", H264)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"the file of an earlier run"


@pytest.mark.parametrize(
    ("frames", "name", "message"),
    [
        ([], "clip.mp4", "no frames"),
        ([np.zeros((64, 96, 3), np.uint8), np.zeros((64, 98, 3), np.uint8)], "clip.mp4", "one size"),
        ([np.zeros((64, 96, 3), np.uint8)], "clip.avi", "name it .mp4"),
    ],
)
def test_frames_that_make_no_clip_are_refused(tmp_path, frames, name, message):
    with pytest.raises(UserError, match=message):
        encode(frames, tmp_path / name, H264)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codec": "vp9", "gop": 12, "fps": 15, "crf": 23}, "vp9"),
        ({"codec": "h264", "gop": 0, "fps": 15, "crf": 23}, "gop 0"),
        ({"codec": "h264", "gop": 12, "fps": 0, "crf": 23}, "fps 0"),
        ({"codec": "h264", "gop": 12, "fps": 15}, "neither crf nor bitrate"),
        ({"codec": "mpeg4", "gop": 12, "fps": 15, "crf": 23}, "set bitrate"),
        ({"codec": "h264", "gop": 12, "fps": 15, "crf": 52}, r"video\.crf=52 is out of range"),
        ({"codec": "h264", "gop": 12, "fps": 15, "bitrate": 0}, r"video\.bitrate=0 is out of range"),
        ({"codec": "hevc", "gop": 12, "fps": 15, "crf": 23, "preset": "midium"}, "video.preset=midium"),
    ],
)
def test_encodings_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        CodecSettings(**arguments)


def test_a_bitrate_takes_the_place_of_the_quality():
    assert CodecSettings("h264", 12, 15, crf=23, bitrate=500) == CodecSettings("h264", 12, 15, bitrate=500)


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "hevc"])
def test_the_psnr_is_that_of_the_film(tmp_path, codec):
    frames = pan(9, 64, 96, (1.5, 0.5))
    encoded = encode(frames, tmp_path / "clip.mp4", CodecSettings(codec, 4, 15, bitrate=400))
    assert (encoded.frames, encoded.keyframes) == (9, (0, 4, 8))
    decoded = [frame.image.astype(float) for frame in Video(tmp_path / "clip.mp4", motion="none")]
    rgb = 10 * np.log10(255**2 / np.mean((np.stack(decoded) - np.stack(frames)) ** 2))
    assert abs(encoded.psnr_y - rgb) < 2.5, "grey frames: luma loses what RGB loses, at 219 levels for 255"


def test_frame_rate_gives_the_times(tmp_path):
    encode(pan(4, 64, 96, (1, 0)), tmp_path / "clip.mp4", CodecSettings("h264", 12, Fraction(30000, 1001), crf=23))
    assert [f.pts for f in Video(tmp_path / "clip.mp4")] == [Fraction(1001 * i, 30000) for i in range(4)]
