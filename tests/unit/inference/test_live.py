"""Live sources: local servers and pipes of ffmpeg."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

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

    def step_batch(images: Any, states: Any, motions: Any) -> Any:
        seen.append((images[0], motions[0]))
        source.meeting.wait()
        source.meeting.wait()
        return whole(images, states, motions)

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
