from __future__ import annotations

import av
import pytest

from src.video.reading.decode import Video
from src.video.vectors.exported import has_layers
from src.video.vectors.h264_headers import is_reference, read_sps
from tests.support.videos import pan, write


def extradata(path):
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.extradata


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
@pytest.mark.parametrize("references", [1, 2, 4])
@pytest.mark.parametrize(("pixels", "profile"), [("yuv420p", "baseline"), ("yuv420p", "high"), ("yuv444p", "high444")])
def test_references_are_read_in_both_packings_and_all_profiles(tmp_path, suffix, references, pixels, profile):
    options = {"x264-params": f"bframes=0:ref={references}", "profile": profile}
    path = write(tmp_path / f"film{suffix}", pan(6, 96, 128, (1, 0)), "libx264", options, pixels)
    (sps,) = read_sps(extradata(path))
    assert (sps.references, sps.progressive) == (references, True)
    assert (sps.crop_left, sps.crop_top) == (0, 0)


def test_custom_scaling_matrices_do_not_derail_the_reader(tmp_path):
    path = write(tmp_path / "film.mp4", pan(6, 96, 128, (1, 0)), "libx264", {"x264-params": "cqm=jvt:ref=1:bframes=0"})
    assert read_sps(extradata(path))[0].references == 1


def test_field_coding_is_seen(tmp_path):
    options = {"x264-params": "bframes=0:ref=1:weightp=0:tff=1"}
    path = write(tmp_path / "film.mp4", pan(6, 96, 128, (1, 0)), "libx264", options)
    assert not read_sps(extradata(path))[0].progressive
    assert Video(path, motion="auto").info.inexact == "it is interlaced"


def test_pictures_that_nobody_refers_to_are_told_apart(tmp_path):
    path = write(tmp_path / "film.mp4", pan(9, 96, 128, (1, 0)), "libx264", {"x264-params": "bframes=2:b-adapt=0"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        header = stream.codec_context.extradata
        kinds = [is_reference(bytes(p), header) for p in packets]
        assert kinds[0]
        assert not all(kinds)
        assert has_layers(packets, stream)
