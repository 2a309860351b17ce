from __future__ import annotations

import logging
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType

from src.errors import UserError
from src.video.motion.field import MotionChain, rasterise, warp
from src.video.reading.decode import Video
from src.video.reading.random_access import read_frames
from src.video.types import CodecSettings
from src.video.vectors.exported import ExactVectors
from src.video.writing.encode import encode
from tests.support.videos import ONE_REFERENCE, occlusion, pan, write, zoom

QUIET = "log-level=none:pools=none"
EXACT = {
    "h264": ("libx264", ONE_REFERENCE),
    "mpeg4": ("mpeg4", {"qmin": "2", "qmax": "2"}),
    "flv": ("flv", {"qmin": "2", "qmax": "2"}),
}
INEXACT = {
    "B frames": ("libx264", {}),
    "3 reference frames": ("libx264", {"x264-params": "bframes=0:ref=3"}),
    "no motion vectors of hevc": ("libx265", {"x265-params": QUIET}),
    "no motion vectors of vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "header allows them": ("mpeg4", {"bf": "2"}),
}


def hop_error(before, after):
    """Mean error of one motion-compensated frame where its motion is valid, and without compensation."""
    motion = rasterise(after.vectors, *after.image.shape[:2])
    compensated = np.abs(warp(before.image, motion).astype(float) - after.image)[motion.valid].mean()
    return compensated, np.abs(before.image.astype(float) - after.image).mean(), motion.valid.mean()


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("step", [(3, 2), (-2.5, 0.5), (0, -4)])
def test_exact_vectors_of_a_pan_are_its_step(tmp_path, name, step):
    codec, options = EXACT[name]
    suffix = "flv" if name == "flv" else "mkv"
    path = write(tmp_path / f"film.{suffix}", pan(5, 96, 128, step), codec, options)
    film = Video(path, motion="exact")
    assert film.info.motion == "exact"
    for frame in film:
        if frame.index == 0:
            assert (frame.frame_type, frame.vectors) == ("I", None)
        else:
            motion = rasterise(frame.vectors, 96, 128)
            assert np.allclose(np.median(motion.field[:, motion.valid], 1), step, atol=0.25)


@pytest.mark.parametrize("reason", INEXACT)
def test_inexact_streams_are_recognised_refused_or_estimated(tmp_path, caplog, reason):
    codec, options = INEXACT[reason]
    path = write(tmp_path / "film.mkv", pan(12, 96, 128, (3, 2)), codec, options)
    with pytest.raises(UserError, match=f"{reason}.*motion=estimate"):
        Video(path, motion="exact")
    with caplog.at_level(logging.INFO):
        film = Video(path, motion="auto")
    assert len(caplog.messages) == 1
    assert reason in caplog.text
    frames = list(film)
    assert [f.index for f in frames] == list(range(12))
    for frame in frames[1:]:
        assert np.array_equal(np.median(frame.vectors[:, 4:], 0), [3, 2])


INTERLACED = {"qmin": "2", "qmax": "2", "flags": "+ilme+ildct", "field_order": "tt"}


@pytest.mark.parametrize(("name", "codec"), [("film.mp4", "mpeg4"), ("film.mkv", "mpeg2video"), ("film.wmv", "wmv2")])
def test_vectors_that_are_worse_than_the_estimate_are_not_taken(tmp_path, name, codec):
    fields = pan(16, 96, 128, (3, 2))
    woven = [np.where(np.arange(96)[:, None, None] % 2, b, a) for a, b in zip(fields[::2], fields[1::2], strict=True)]
    interlaced = codec != "wmv2"
    options = INTERLACED if interlaced else {"qmin": "2", "qmax": "2"}
    path = write(
        tmp_path / name, woven if interlaced else fields, codec, {**options, "bf": "0"} | LOW_DELAY.get(codec, {})
    )
    with pytest.raises(UserError, match=r"motion=estimate"):
        list(Video(path, motion="exact"))
    errors = [sum(hop_error(a, b)[0] for a, b in pairwise(list(Video(path, m))[1:])) for m in ("auto", "estimate")]
    assert errors[0] == errors[1]


LOW_DELAY = {"mpeg2video": {"flags": "+ilme+ildct+low_delay"}}


@pytest.mark.parametrize(
    ("kind", "interlaced", "reason"),
    [("S", False, "global motion"), ("B", False, "type B"), ("P", True, "interlaced"), ("P", False, None)],
)
def test_decoded_frames_tell_that_vectors_are_not_exact(tmp_path, kind, interlaced, reason):
    path = write(tmp_path / "film.avi", pan(3, 48, 64, (1, 0)), *EXACT["mpeg4"])
    with av.open(str(path)) as container:
        exact = ExactVectors(path, container.streams.video[0])
    frame = SimpleNamespace(pict_type=PictureType[kind], interlaced_frame=interlaced)
    found = exact.check(frame)
    assert found is None if reason is None else reason in found


def test_motion_is_estimated_from_the_frame_on_that_has_no_exact_one(tmp_path, caplog):
    path, reason = tmp_path / "both.h264", "3 reference frames"
    for options in (EXACT["h264"][1], {"x264-params": "bframes=0:ref=3"}):
        write(tmp_path / "part.h264", pan(6, 96, 128, (3, 2)), "libx264", options)
        with path.open("ab") as file:
            file.write((tmp_path / "part.h264").read_bytes())
    with pytest.raises(UserError, match=rf"no exact motion vectors: .*{reason}.*video\.motion=estimate"):
        list(Video(path, motion="exact"))
    film = Video(path, motion="auto")
    assert film.info.motion == "exact"
    with caplog.at_level(logging.WARNING):
        frames = list(film)
    assert len(caplog.messages) == 1
    assert reason in caplog.text
    assert [frame.index for frame in frames] == list(range(12))
    assert film.info.motion == "estimate"
    exact, estimated = list(Video(tmp_path / "both.h264", "none"))[:6], list(Video(path, motion="estimate"))
    assert np.array_equal(exact[5].image, frames[5].image)
    assert np.array_equal(frames[11].vectors, estimated[11].vectors)
    assert not np.array_equal(frames[3].vectors, estimated[3].vectors), "those of the codec"


@pytest.mark.parametrize("motion", ["estimate", "transcode"])
@pytest.mark.parametrize("size", [(4, 160), (160, 6), (2, 2)])
def test_slivers_have_a_motion_too(tmp_path, size, motion):
    path = write(tmp_path / "film.mkv", pan(4, *size, (1, 0)), "ffv1", pixels="bgr0")
    frames = list(Video(path, motion=motion))
    assert [frame.image.shape[:2] for frame in frames] == [size] * 4
    assert all(frame.vectors.shape[1] == 6 for frame in frames[1:])


def test_auto_takes_exact_vectors_where_there_are_and_says_so(tmp_path, caplog):
    path = write(tmp_path / "film.mp4", pan(3, 96, 128, (1, 0)), *EXACT["h264"])
    with caplog.at_level(logging.INFO):
        assert Video(path, motion="auto").info.motion == "exact"
    assert "exact motion from the codec" in caplog.text


@pytest.mark.parametrize("size", [(96, 128), (61, 83)])
def test_estimated_motion_covers_the_picture_of_any_size(tmp_path, size):
    path = write(tmp_path / "film.mkv", pan(4, *size, (3, -2)), "ffv1", pixels="bgr0")
    frames = list(Video(path, motion="estimate"))
    assert frames[0].vectors is None
    covered = np.zeros(size, int)
    for x, y, w, h, *_ in frames[1].vectors.astype(int):
        covered[y : y + h, x : x + w] += 1
    assert np.all(covered == 1)
    assert np.array_equal(np.median(frames[3].vectors[:, 4:], 0), [3, -2])


@pytest.mark.parametrize("motion", ["exact", "estimate", "transcode"])
def test_a_zoom_is_followed_through_the_gop(tmp_path, motion):
    frames = zoom(8, 96, 128, 1.02)
    path = write(tmp_path / "film.mp4", frames, *EXACT["h264"])
    follow = MotionChain()
    for frame in Video(path, motion=motion):
        to_key = follow.update(frame)
    error = np.abs(warp(frames[0], to_key).astype(float) - frames[-1])[to_key.valid].mean()
    assert error < 0.4 * np.abs(frames[0].astype(float) - frames[-1]).mean()


def test_occlusion_leaves_intra_blocks_out_of_the_mask(tmp_path):
    path = write(tmp_path / "film.mp4", occlusion(6, 128, 192, 12), *EXACT["h264"])
    frames = list(Video(path))
    for before, after in pairwise(frames[1:]):
        compensated, plain, valid = hop_error(before, after)
        assert compensated < 0.3 * plain
        assert valid > 0.8


def test_scene_cut_inside_a_gop_has_no_valid_motion(tmp_path):
    path = tmp_path / "film.mp4"
    encode(pan(3, 96, 128, (1, 0)) + pan(2, 96, 128, (1, 0), 5), path, CodecSettings("h264", 12, 15, crf=20))
    frames = list(Video(path))
    assert frames[3].frame_type == "P"
    assert rasterise(frames[3].vectors, 96, 128).valid.mean() < 0.5
    assert rasterise(frames[2].vectors, 96, 128).valid.mean() > 0.8


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("motion", ["exact", "estimate", "transcode"])
def test_turned_films_come_upright_with_their_vectors(tmp_path, degrees, mirror, motion):
    """The display matrix turns counter-clockwise after mirroring, as FFmpeg sets it."""
    plain = pan(3, 96, 128, (3, 2))
    write(tmp_path / "plain.mp4", plain, *EXACT["h264"])
    path = write(
        tmp_path / "film.mp4",
        plain,
        *EXACT["h264"],
        setup=lambda stream: stream.set_display_rotation(degrees, hflip=mirror),
    )
    frames = list(Video(path, motion=motion))
    upright = next(iter(Video(tmp_path / "plain.mp4"))).image
    upright = np.rot90(upright, degrees // 90)
    if mirror:
        upright = upright[:, ::-1]
    assert np.array_equal(frames[0].image, upright)
    assert frames[0].image.shape[:2] == (Video(path).info.height, Video(path).info.width)
    compensated, plain_error, _ = hop_error(frames[1], frames[2])
    assert compensated < 0.2 * plain_error


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "yuv422p10le"])
def test_deeper_and_denser_pixel_formats(tmp_path, pixels):
    frames = pan(3, 96, 128, (3, 2))
    path = write(tmp_path / "film.mkv", frames, "libx264", ONE_REFERENCE, pixels)
    for decoded, original in zip(Video(path), frames, strict=True):
        assert decoded.image.dtype == np.uint8
        assert np.abs(decoded.image.astype(int) - original).mean() < 2
    estimated = list(Video(path, motion="estimate"))
    assert np.array_equal(np.median(estimated[2].vectors[:, 4:], 0), [3, 2])


@pytest.mark.parametrize("matrix", ["itu601", "itu709"])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_of_the_film_are_honoured(tmp_path, matrix, full):
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :64], image[:, 64:] = (220, 40, 60), (30, 200, 90)

    def tag(stream):
        stream.codec_context.colorspace = {"itu601": 6, "itu709": 1}[matrix]
        stream.codec_context.color_range = 2 if full else 1

    colours = {"dst_colorspace": matrix, "src_color_range": 2, "dst_color_range": 2 if full else 1}
    path = write(tmp_path / "film.mp4", [image] * 2, "libx264", {"crf": "1"}, setup=tag, **colours)
    decoded = next(iter(Video(path, motion="none"))).image
    for x in (30, 100):
        assert np.abs(decoded[48, x].astype(int) - image[48, x]).max() <= 3


@pytest.mark.parametrize(("size", "matrix"), [((96, 128), "itu601"), ((720, 1280), "itu709")])
def test_without_a_named_matrix_the_size_decides(tmp_path, size, matrix):
    image = np.full((*size, 3), (220, 40, 60), np.uint8)
    path = write(tmp_path / "film.mkv", [image], "libx264", {"crf": "1"}, dst_colorspace=matrix)
    decoded = next(iter(Video(path, motion="none"))).image
    assert np.abs(decoded[48, 64].astype(int) - (220, 40, 60)).max() <= 3


def test_variable_frame_rate_keeps_its_times(tmp_path):
    pts = [0, 40, 50, 200, 203]
    path = write(tmp_path / "film.mkv", pan(5, 96, 128, (1, 0)), "libx264", fps=1000, pts=pts)
    frames = list(Video(path, motion="none"))
    assert [f.pts for f in frames] == [Fraction(p, 1000) for p in pts]
    assert [f.index for f in frames] == list(range(5))


def test_a_film_can_be_read_twice_and_with_threads(tmp_path):
    path = write(tmp_path / "film.mp4", pan(9, 96, 128, (2, 1)), *EXACT["h264"])
    film = Video(path, threads=2)
    first, second = list(film), list(film)
    single = list(Video(path))
    for a, b, c in zip(first, second, single, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.image, c.image)
        assert (a.vectors is None) == (c.vectors is None)
        assert a.vectors is None or np.array_equal(a.vectors, c.vectors)


@pytest.mark.parametrize("sizes", [((96, 128), (64, 96)), ((64, 96), (96, 128))])
@pytest.mark.parametrize("motion", ["none", "exact", "estimate", "transcode"])
def test_another_size_in_midstream_is_scaled_after_a_keyframe(tmp_path, caplog, sizes, motion):
    both = tmp_path / "both.h264"
    for size in sizes:
        write(tmp_path / "part.h264", pan(3, *size, (4, 0)), *EXACT["h264"])
        with both.open("ab") as file:
            file.write((tmp_path / "part.h264").read_bytes())
    (height, width), (_, other_width) = sizes
    frames = list(Video(both, motion=motion))
    assert "the size changes at frame 3" in caplog.text
    assert [f.image.shape for f in frames] == [(height, width, 3)] * 6
    part = list(Video(tmp_path / "part.h264", motion="none"))
    whole = cv2.resize(part[1].image, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(frames[4].image.astype(int) - whole).mean() < 5, "scaled, not cropped"
    assert np.array_equal(list(read_frames(both)), [frame.image for frame in frames])
    if motion != "none":
        assert frames[3].vectors is None
        assert abs(np.median(frames[5].vectors[:, 4]) - 4 * width / other_width) < 0.3


def test_what_is_no_film_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "picture.jpg"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film\n" * 99)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 44100
        container.mux([*stream.encode(sound), *stream.encode()])
    cases = {
        "missing.mp4": "is not a file",
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read",
        "picture.png": "is a still image",
        "picture.jpg": "is a still image",
        "sound.mp4": "no video stream",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=rf"{name}.*{message}.*; "):
            Video(tmp_path / name)
