"""Live sources: local servers and pipes of ffmpeg."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.errors import UserError
from src.inference.health import Health
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.inference.segment import Segmented, segment
from src.inference.streams import Stream, segment_streams
from src.video.motion.field import MotionChain
from src.video.reading import live
from src.video.reading.decode import Video
from src.video.reading.live import LiveVideo, is_live, without_password
from tests.support.tiny_runner import AR, exact_film, save_checkpoint

FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exact_film(tmp_path_factory.mktemp("video") / "video.mp4", 20, gop=10)


@pytest.fixture
def runner(tmp_path: Path) -> FrameRunner:
    return runner_of(load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", AR)), torch.device("cpu"))


def run(source: LiveVideo, runner: FrameRunner, drop: bool = False) -> tuple[list[Segmented], Health]:
    results: list[Segmented] = []
    health = Health(source, 60.0, drop)
    stream = Stream(source, KeyedMotion(100), results.append, lambda _: None, source.stop, health)
    segment_streams([stream], runner, 1, 2)
    return results, health


def test_sources_that_are_live() -> None:
    for source in ("rtsp://u:p@h/a", "http://h/a.m3u8", "udp://127.0.0.1:5", "/dev/video0", "-", "srt://h:1"):
        assert is_live(source)
    for source in ("a.mp4", "video0", "/dev/null", "http", "c:/a.mp4", "--"):
        assert not is_live(source)
    assert is_live("RTSP://u:p@h/a")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://user:secret@h/a", "rtsp://h/a"),
        ("rtsp://user:sec@ret@h:554/a", "rtsp://h:554/a"),
        ("rtsp://user:se/cret@h/a", "rtsp://h/a"),
        ("rtsp://user:s@e/cret@h/a", "rtsp://h/a"),
        ("rtsp://user:12/secret@h/a", "rtsp://h/a"),
        ("rtsp://user:se#cret@h/a", "rtsp://h/a"),
        ("rtsp://user:se?cret@h/a", "rtsp://"),
        ("rtsp://user:s/e?cret@h/a", "rtsp://"),
        ("rtsp://user:s@e?cret@h/a", "rtsp://"),
        ("http://h/a?password=sec@ret", "http://h/a"),
        ("http://h/a?user=u&password=secret&n=1", "http://h/a"),
        ("http://user:secret@h/a?password=secret", "http://h/a"),
        ("rtsp://h/user=u&password=secret&n=1/b", "rtsp://h/user=&password=&n=1/b"),
        ("rtsp://h/user=u_PASSWORD=secret_n=1/b", "rtsp://h/user=/b"),
        ("srt://h:1?passphrase=secret", "srt://h:1"),
        ("rtsp://h/a@b", "rtsp://h/a@b"),
        ("http://[::1]:80/a.m3u8", "http://[::1]:80/a.m3u8"),
        ("/dev/video0", "/dev/video0"),
        ("-", "-"),
    ],
)
def test_passwords_are_not_shown(source: str, shown: str) -> None:
    assert without_password(source) == shown


@FFMPEG
def test_a_pipe_gives_what_its_file_gives(video: Path, runner: FrameRunner, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(video), "-c", "copy", "-f", "mpegts", str(pipe)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as sender:
        found, health = run(LiveVideo(str(pipe), "exact"), runner)
    assert sender.returncode == 0
    expected = list(segment(Video(video, "exact"), runner, KeyedMotion(100)))
    assert [r.is_key for r in found] == [r.is_key for r in expected]
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(found, expected, strict=True))
    assert (health.dropped, health.summary()["reconnections"]) == (0, 0)


@pytest.mark.subprocess
@FFMPEG
def test_a_server_that_dies_and_comes_back(
    video: Path, runner: FrameRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "FIRST", 0.05)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    def serve() -> None:
        for _ in range(2):  # it serves one client, and ends
            command = ["ffmpeg", "-v", "error", "-i", str(video), "-c", "copy", "-f", "mpegts", "-listen", "1", url]
            subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=60)
            time.sleep(0.2)

    server = threading.Thread(target=serve)
    server.start()
    found, health = run(connected(url), runner)
    server.join()
    assert [r.frame.index for r in found] == list(range(40))
    assert [r.frame.index for r in found if r.is_key] == [0, 10, 20, 30]
    assert health.summary()["reconnections"] == 1
    assert "did not come back in 8 attempts" in caplog.text


def connected(url: str) -> LiveVideo:
    for _ in range(200):
        try:
            return LiveVideo(url, "exact", reconnect=8)
        except UserError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def test_a_source_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^video 'http:/127\.0\.0\.1:9/a' cannot be read .*; check the address"):
        LiveVideo("http://user:secret@127.0.0.1:9/a")


@pytest.fixture
def torn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """Address of a server of a folder, and how many bytes each connection brings before it breaks."""
    monkeypatch.setattr(live, "FIRST", 0.01)
    lengths: list[int] = []

    class Tearing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = (tmp_path / self.path[1:]).read_bytes()
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206)
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            with suppress(OSError):  # the client need not read all
                self.wfile.write(data[start : start + lengths[0]])

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Tearing) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", lengths
        server.shutdown()


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.ts", "video.h264"])
def test_a_file_whose_connection_breaks_is_read_to_its_end(
    torn: tuple[str, list[int]], tmp_path: Path, name: str
) -> None:
    path, (server, lengths) = tmp_path / name, torn
    whole = exact_film(tmp_path / "whole.mp4", 60, gop=30, height=240, width=320)
    ahead = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}  # the index, without which nothing opens
    with av.open(str(whole)) as read, av.open(str(path), "w", options=ahead) as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(read.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    size = path.stat().st_size
    lengths[:] = [size * 2 // 3]
    source, found = LiveVideo(f"{server}/{name}", "exact", reconnect=5), list[Any]()
    for frame in source:
        found.append(frame)
        lengths[:] = [size]
    assert source.reconnections == 1
    expected = list(Video(path, "exact"))
    assert [f.index for f in found] == list(range(60))
    assert not any(f.damaged for f in found)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.image, other.image)
        assert (one.vectors is None) == (other.vectors is None)
        assert one.vectors is None or np.array_equal(one.vectors, other.vectors)


def test_a_file_that_stays_broken_is_damage(
    torn: tuple[str, list[int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, (server, lengths) = exact_film(tmp_path / "video.mkv", 60, gop=30, height=240, width=320), torn
    lengths[:] = [path.stat().st_size * 2 // 3]
    with pytest.raises(UserError, match=r"breaks off after \d\d frames, and did not come back in 2 attempts; copy it"):
        list(LiveVideo(f"{server}/video.mkv", "exact", 2, on_damage="stop"))
    found = list(LiveVideo(f"{server}/video.mkv", "exact", 2))
    assert [f.index for f in found] == list(range(len(found)))
    assert 20 < len(found) < 60
    assert f"did not come back in 2 attempts; it ends after {len(found)} frames" in caplog.text


class Recorded(LiveVideo):
    """A file that plays as a live source does: bursts of frames come while the network is at the frame before."""

    def __init__(self, path: Path) -> None:
        self.path, self.reconnections, self.info = path, 0, Video(path, "exact").info
        self.meeting = threading.Barrier(2, timeout=30)  # where a step of the network begins, and where it may end

    def __iter__(self) -> Iterator[Any]:
        frames = iter(Video(self.path, "exact"))
        yield next(frames)
        for burst in (6, 5, 7, 1, 0):
            self.meeting.wait()
            yield from islice(frames, burst)
            self.meeting.wait()

    def stop(self) -> None: ...


def test_frames_are_dropped_before_the_network_and_motion_stays_exact(
    video: Path, runner: FrameRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole, seen = Recorded(video), runner.step_batch, list[Any]()

    def step_batch(images: Any, states: Any, motions: Any, warp_only: bool) -> Any:
        seen.append((images[0], motions[0]))
        source.meeting.wait()
        source.meeting.wait()
        return whole(images, states, motions, warp_only)

    monkeypatch.setattr(runner, "step_batch", step_batch)
    found, health = run(source, runner, drop=True)
    assert [r.frame.index for r in found] == [0, 6, 11, 18, 19]
    assert health.dropped == 15
    keys = [r.frame.index for r in found if r.is_key]
    assert keys == [0, 11], "the first frame that is seen of the next GOP is a keyframe, as frame 10 was not seen"
    chain, motions = MotionChain(), list[Any]()
    for frame in Video(video, "exact"):
        if frame.index in keys:
            chain.reset()
        motions.append(chain.update(frame).field)
    for result, (image, motion) in zip(found, seen, strict=True):
        assert image.strides[1] == 3, "the network sees whole images"
        if motion is not None:
            assert np.array_equal(motion.field, motions[result.frame.index])
