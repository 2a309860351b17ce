"""Several videos through one network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.errors import UserError
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.inference.segment import Segmented, segment
from src.inference.streams import Stream, segment_streams
from src.models.tdnet.propagation import TDNetState
from src.models.video import split_state, stack_states, state_layout
from src.video.reading.decode import Video
from src.video.reading.sources import videos_of
from tests.support.tiny_runner import AR, IMAGE, STATE, exact_film, save_checkpoint


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three of one size, of different length and GOP, and one of another size."""
    folder = tmp_path_factory.mktemp("videos")
    sizes = [(9, 4, 48, 64), (6, 6, 48, 64), (7, 3, 48, 64), (5, 5, 45, 67)]
    return [exact_film(folder / f"{n}.mp4", a, gop=b, height=h, width=w) for n, (a, b, h, w) in enumerate(sizes)]


def run(
    videos: list[Path], runner: FrameRunner, at_once: int, ahead: int, workers: int = 1
) -> tuple[list[list[Segmented]], list[Any]]:
    results: list[list[Segmented]] = [[] for _ in videos]
    ends: list[Any] = []
    segment_streams(
        (
            Stream(Video(path), KeyedMotion(4), found.append, ends.append)
            for path, found in zip(videos, results, strict=True)
        ),
        runner,
        at_once,
        ahead,
        workers,
    )
    return results, ends


@pytest.mark.parametrize("node", [AR, IMAGE, STATE], ids=["ar", "image", "state"])
@pytest.mark.parametrize(("at_once", "ahead", "workers"), [(4, 0, 1), (4, 3, 1), (2, 3, 1), (4, 3, 3), (2, 3, 2)])
def test_each_stream_gets_the_labels_that_it_gets_alone(
    videos: list[Path], tmp_path: Path, node: dict[str, Any], at_once: int, ahead: int, workers: int
) -> None:
    runner = runner_of(load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", node)), torch.device("cpu"))
    alone = [list(segment(Video(path), runner, KeyedMotion(4))) for path in videos]
    together, ends = run(videos, runner, at_once, ahead, workers)
    assert ends == [None] * 4
    for one, other in zip(alone, together, strict=True):
        assert [r.frame.index for r in other] == list(range(len(one)))
        assert [r.is_key for r in one] == [r.is_key for r in other]
        assert np.mean([(a.labels == b.labels).mean() for a, b in zip(one, other, strict=True)]) > 0.9999


def test_frames_of_one_kind_and_size_are_one_batch(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", AR)), torch.device("cpu"))
    batches, whole = list[tuple[int, bool]](), runner.step_batch

    def step_batch(images: Any, states: Any, motions: Any, warp_only: bool) -> Any:
        batches.append((len(images), motions[0] is None))
        return whole(images, states, motions, warp_only)

    monkeypatch.setattr(runner, "step_batch", step_batch)
    run(videos, runner, 4, 0)
    assert batches[:4] == [(3, True), (1, True), (3, False), (1, False)]


def test_as_many_frames_as_workers_are_run_side_by_side(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", AR)), torch.device("cpu"))
    together, whole = threading.Barrier(2, timeout=60), runner.step_batch
    first = threading.Semaphore(2)

    def step_batch(images: Any, states: Any, motions: Any, warp_only: bool) -> Any:
        if first.acquire(blocking=False):
            together.wait()  # until the other worker is here
        assert len(images) == 1
        return whole(images, states, motions, warp_only)

    monkeypatch.setattr(runner, "step_batch", step_batch)
    results, ends = run(videos, runner, 3, 3, workers=2)
    assert ends == [None] * 4
    assert [len(found) for found in results] == [9, 6, 7, 5]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_that_fails_ends_alone(videos: list[Path], tmp_path: Path, workers: int) -> None:
    runner = runner_of(load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", AR)), torch.device("cpu"))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(exact_film(tmp_path / "whole.mkv", 12, gop=6).read_bytes()[:-600])
    results, ends = run([videos[0], cut, videos[1]], runner, 3, 2, workers)
    assert [len(found) for found in results][::2] == [9, 6]
    assert sorted(str(type(end)) for end in ends if end is not None) == [str(UserError)]


def test_states_are_stacked_and_split_by_their_layout() -> None:
    states = [TDNetState(2, torch.full((1, 3, 4), float(n)), (torch.ones(1, 3, 5) * n,), ()) for n in range(3)]
    stacked = stack_states(states)
    assert isinstance(stacked, TDNetState)
    assert stacked.path == 2
    assert stacked.values[0].shape == (3, 3, 5)
    for one, other in zip(states, split_state(stacked, 3), strict=True):
        assert state_layout(one) == state_layout(other)
        assert one.key is not None
        assert torch.equal(one.key, other.key)
        assert torch.equal(one.values[0], other.values[0])
    assert state_layout(states[0]) != state_layout(states[0]._replace(path=3))
    assert state_layout(states[0]) != state_layout(states[0]._replace(key=None))


def test_names_of_several_videos(tmp_path: Path) -> None:
    for name in ("a/one.mp4", "a/two.MKV", "b/one.mp4", "b/one.mkv", "a/notes.txt", "odd [1].mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "._one.mp4").touch()
    (tmp_path / "b" / ".cache").mkdir()
    (tmp_path / "b" / ".cache" / "one.mp4").touch()
    output = str(tmp_path / "output")
    for name in ("output/a/one.mp4/overlay.mp4", "output/.partial/overlay.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert videos_of(str(tmp_path / "odd [1].mp4"), output) is None
    assert list(videos_of(str(tmp_path / "a"), output) or {}) == ["one.mp4", "two.MKV"]
    below = ["a/one.mp4", "a/two.MKV", "b/one.mkv", "b/one.mp4", "odd [1].mp4"]
    assert list(videos_of(str(tmp_path), output) or {}) == below
    assert list(videos_of(f"{tmp_path}/*/one.mp4", output) or {}) == ["a/one.mp4", "b/one.mp4"]
    assert list(videos_of(f"{tmp_path}/**/*.mp4", output) or {}) == [name for name in below if name.endswith("mp4")]
    assert list(videos_of(str(tmp_path / "a"), str(tmp_path)) or {}) == ["one.mp4", "two.MKV"]
    assert list(videos_of([str(tmp_path / "a" / "one.mp4"), str(tmp_path / "b" / "one.mkv")], output) or {}) == [
        "one.mp4",
        "one.mkv",
    ]
    with pytest.raises(UserError, match=r"would both be named 'one\.mp4'"):
        videos_of([str(tmp_path / "a" / "one.mp4"), str(tmp_path / "b" / "one.mp4")], output)
    with pytest.raises(UserError, match=r"holds the file 'one\.mp4', and results would be named so; give another"):
        videos_of(str(tmp_path / "a"), str(tmp_path / "a"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no video"):
        videos_of(str(tmp_path / "empty"), output)
    with pytest.raises(UserError, match="nothing is named like"):
        videos_of(f"{tmp_path}/*.webm", output)


def test_names_of_live_sources_differ(tmp_path: Path) -> None:
    sources = [f"http://h/live?camera={n}&password=secret" for n in (1, 2)]
    assert videos_of(sources, str(tmp_path)) == {"http_h_live": sources[0], "http_h_live_2": sources[1]}
