"""Pairs to learn from: right motion, nothing held out, the same for the same seed, all distances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.adaptation import pairs
from src.adaptation.pairs import Source, batches, fitting, is_held_out
from src.errors import UserError
from src.video.reading.decode import Video
from src.video.types import Frame
from tests.support.tiny_runner import exact_film
from tests.unit.adaptation.test_learner import learning

GOP = 4


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Video:
    return Video(exact_film(tmp_path_factory.mktemp("adaptation") / "video.mp4", 40, 20))


def source(video: Video) -> Source:
    return Source("video.mp4", lambda: video, 40, False)


def test_keyframe_and_frame_match_under_the_motion(video: Video) -> None:
    """The texture moves by whole pixels: warped keyframes are the frames, wherever they were cropped and mirrored."""
    errors = []
    for batch in batches([source(video)], GOP, learning(crop=[32, 40]), None, 8, holds_out=False, seed=0):
        y, x = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
        for frames, motion, valid in zip(batch.frames, batch.motion, batch.motion_valid, strict=True):
            at = torch.stack([(x + motion[0]) / 39, (y + motion[1]) / 31], -1) * 2 - 1
            moved = torch.nn.functional.grid_sample(frames[:1].float(), at[None], align_corners=True)[0]
            inner = valid.clone()
            inner[:, :6] = inner[:, -6:] = inner[:4] = inner[-4:] = False
            errors.append(float((moved - frames[1].float()).abs().mean(0)[inner].mean()))
            assert float((frames[0].float() - frames[1].float()).abs().mean()) > 2 * errors[-1], "it does move"
    assert np.mean(errors) < 10


def recorded(monkeypatch: pytest.MonkeyPatch, video: Video, holds_out: bool) -> list[tuple[int, int]]:
    """Index of keyframe and frame of each pair of 40 passes."""
    index = {frame.image.tobytes(): frame.index for frame in video}
    found: list[tuple[int, int]] = []
    rng = np.random.default_rng(0)
    for _ in range(40):
        for key, image, _ in pairs._pairs(source(video), GOP, holds_out, int(rng.integers(GOP))):
            found.append((index[key.tobytes()], index[image.tobytes()]))
    return found


def test_all_distances_and_all_frames_but_those_held_out_are_learned_from(
    monkeypatch: pytest.MonkeyPatch, video: Video
) -> None:
    found = recorded(monkeypatch, video, holds_out=True)
    held_out = {n for n in range(40) if is_held_out(n, GOP)}
    assert held_out == {8, 9, 10, 11, 28, 29, 30, 31}
    assert not held_out & {n for pair in found for n in pair}
    assert {n for pair in found for n in pair} == set(range(40)) - held_out
    assert {image - key for key, image in found} == {1, 2, 3}
    assert held_out <= {n for pair in recorded(monkeypatch, video, holds_out=False) for n in pair}


def test_a_seed_gives_the_same_batches_and_another_one_others(video: Video) -> None:
    def drawn(seed: int) -> list[Any]:
        return list(batches([source(video)], GOP, learning(), None, 5, holds_out=True, seed=seed))

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert len(first) == 5
    assert all(
        torch.equal(a.frames, b.frames) and torch.equal(a.motion, b.motion) for a, b in zip(first, again, strict=True)
    )
    assert not all(torch.equal(a.frames, b.frames) for a, b in zip(first, other, strict=True))


def test_several_videos_take_part(video: Video) -> None:
    opened: list[str] = []

    def frames(name: str) -> Iterator[Frame]:
        opened.append(name)
        yield from video

    sources = [Source(name, lambda name=name: frames(name), 40, False) for name in ("a", "b")]  # type: ignore[misc]
    list(batches(sources, GOP, learning(), None, 40, holds_out=False, seed=0))
    assert {"a", "b"} == set(opened)


def test_videos_without_frames_between_keyframes_are_rejected(tmp_path: Path) -> None:
    intra = Video(exact_film(tmp_path / "intra.mp4", 6, 1))
    with pytest.raises(UserError, match=r"'intra\.mp4' holds no frame to learn from"):
        list(batches([Source("intra.mp4", lambda: intra, 6, False)], GOP, learning(), None, 2, holds_out=False, seed=0))


def test_the_crop_fits_the_smallest_video() -> None:
    assert list(fitting(learning(crop=[384, 512]), [(360, 640), (720, 480)], None).crop) == [360, 480]
