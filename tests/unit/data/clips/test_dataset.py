"""Prepared clips: what is cached, what is drawn, and that it repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from src.data.clips import cache as prepare_clips
from src.data.clips.cache import prepare
from src.data.clips.dataset import ClipDataset, default_distances, is_scored, scored_candidates, training_candidates
from src.data.clips.recipes import ClipsFromImages, ClipsFromVideos
from src.data.clips.table import Clips
from src.data.module import collate
from src.data.sampling import EpochSampler
from src.data.still_animation.motion import SceneMotion
from src.data.street.dataset import Street
from src.data.transforms import TrainTransform
from src.errors import UserError
from src.video.motion.field import MotionField, warp
from src.video.types import CodecSettings

GOP = 4
ODD = "caf\udce9"  # the name of a file that is not UTF-8
ENCODING = CodecSettings("h264", GOP, 15, crf=20, preset="veryfast")


@pytest.fixture(scope="module")
def source() -> Street:
    return Street({"train": 1, "val": 1}, length=11, height=48, width=64, fps=15)


@pytest.fixture(scope="module")
def clips(source: Street, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    jobs = ClipsFromVideos(None).jobs(source, "val", GOP)
    return prepare(jobs, ENCODING, tmp_path_factory.mktemp("clips"), workers=1)


def test_every_scored_frame_occurs_at_every_distance(clips: Clips) -> None:
    places: dict[int, set[int]] = {d: set() for d in range(GOP)}
    for clip in clips:
        for index in clip.labelled:
            if is_scored(clip, index):
                places[index % GOP].add(clip.start + index)
    assert all(found == set(range(GOP - 1, 11)) for found in places.values())
    assert len(scored_candidates(clips, [1, 3], stride=1)) == 2 * (11 - GOP + 1)


@pytest.mark.parametrize(
    ("gop", "distances"),
    [
        (12, [1, 3, 6, 11]), (15, [1, 3, 7, 14]), (20, [1, 5, 10, 19]), (30, [1, 7, 15, 29]), (4, [1, 2, 3]), (2, [1]),
        (1, [0]),
    ],
)  # fmt: skip
def test_scored_distances_derive_from_the_gop(gop: int, distances: list[int]) -> None:
    assert default_distances(gop) == distances


def test_all_gops_of_a_sweep_are_scored_on_the_same_frames(
    clips: Clips, source: Street, tmp_path_factory: pytest.TempPathFactory
) -> None:
    longer = prepare(
        ClipsFromVideos(None).jobs(source, "val", 6),
        replace(ENCODING, gop=6),
        tmp_path_factory.mktemp("longer"),
        workers=1,
    )
    first = ClipsFromVideos(None).first_scored(GOP, 6)
    for stride in (1, 2):
        scored = [
            {
                distance: {c.clip.start + c.frames[0] for c in scored_candidates(of, [distance], stride, 1, first)}
                for distance in default_distances(of.gop)
            }
            for of in (clips, longer)
        ]
        assert [list(found) for found in scored] == [[1, 2, 3], [1, 3, 5]]
        assert all(frames == set(range(5, 11, stride)) for found in scored for frames in found.values())
    assert {c.start + i for c in clips for i in c.labelled if is_scored(c, i, first)} == set(range(5, 11))
    assert ClipsFromImages(1, "all", 0, SceneMotion()).first_scored(4, 12) == 3, "rendered videos end at their image"


def test_labels_are_those_of_the_frames(clips: Clips, source: Street) -> None:
    truth = [labels for _, labels in source.videos("val")[0].frames()]
    for clip in clips:
        for index in clip.labelled:
            np.testing.assert_array_equal(clip.read_labels(index, (48, 64)), truth[clip.start + index])


def test_preparing_again_makes_nothing(clips: Clips, source: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a clip was made again")

    monkeypatch.setattr(prepare_clips, "_make_all", refuse)
    again = prepare(ClipsFromVideos(None).jobs(source, "val", GOP), ENCODING, clips[0].video.parents[1], workers=1)
    assert list(again) == list(clips)
    other = CodecSettings("h264", GOP, 15, crf=21, preset="veryfast")
    with pytest.raises(AssertionError):
        prepare(ClipsFromVideos(None).jobs(source, "val", GOP), other, clips[0].video.parents[1], workers=1)


def test_a_pair_is_joined_by_its_motion(clips: Clips) -> None:
    dataset = ClipDataset(scored_candidates(clips, [GOP - 1], 1), "pair", "exact", None)
    better = 0
    for index in range(len(dataset)):
        sample = dataset[(index, 0)]
        key, current = sample["frames"].permute(0, 2, 3, 1).numpy()
        valid = sample["motion_valid"].numpy()
        moved = warp(np.ascontiguousarray(key), MotionField(sample["motion"].numpy(), valid))
        better += ((moved - current)[valid] ** 2).mean() < ((key - current)[valid] ** 2).mean()
        assert sample["distance"] == GOP - 1
    assert better >= 0.8 * len(dataset)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_repeats_whatever_the_workers(clips: Clips, workers: int) -> None:
    def epoch(number: int, workers: int) -> list[Any]:
        transform = TrainTransform((32, 48), (0.7, 1.5), 0.5, None)
        dataset = ClipDataset(training_candidates(clips, range(1, GOP)), "pair", "exact", transform)
        sampler = EpochSampler(len(dataset), True, seed=7)
        sampler.set_epoch(number)
        return list(DataLoader(dataset, 2, sampler=sampler, num_workers=workers, collate_fn=collate))

    first, same, other = epoch(0, workers), epoch(0, 0), epoch(1, workers)
    for a, b in zip(first, same, strict=True):
        assert torch.equal(a.frames, b.frames)
        assert torch.equal(a.motion, b.motion)
        assert a.name == b.name
    assert not all(torch.equal(a.frames, b.frames) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0].frames, first[1].frames)


def test_windows_score_the_same_frames_at_every_distance(clips: Clips) -> None:
    found = {d: scored_candidates(clips, [d], stride=1, frames=3) for d in range(GOP)}
    places = {d: {c.clip.start + c.frames[0] for c in candidates} for d, candidates in found.items()}
    assert all(place == set(range(GOP - 1 + 2, 11)) for place in places.values())
    assert all(c.frames[0] >= 2 for candidates in found.values() for c in candidates), "two frames lie before each"


def test_window_ends_at_the_labelled_frame(clips: Clips) -> None:
    candidates = scored_candidates(clips, [3], 1)
    one, three = (ClipDataset(candidates, frames, "exact", None)[(0, 0)] for frames in (1, 3))
    assert three["frames"].shape[0] == 3
    assert torch.equal(one["frames"][0], three["frames"][-1])


def test_films_shorter_than_a_gop_and_missing_kinds_are_refused(source: Street) -> None:
    with pytest.raises(UserError, match="11 frames"):
        ClipsFromVideos(None).jobs(source, "val", 12)
    with pytest.raises(UserError, match="no still images"):
        ClipsFromImages(1, "last", 0, SceneMotion()).jobs(source, "val", GOP)
    with pytest.raises(UserError, match="train, val"):
        ClipsFromVideos(None).jobs(source, "test", GOP)


@dataclass(frozen=True)
class _Picture:
    """A still that is not on disk."""

    name: str

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(3)
        blocks = np.kron(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        labels = np.kron(rng.integers(0, 11, (6, 8), dtype=np.uint8), np.ones((8, 8), np.uint8))
        return blocks, labels

    def fingerprint(self) -> Any:
        return self.name


class _Stills(Street):
    def images(self, split: str) -> list[Any]:
        return [_Picture("a"), _Picture(ODD)]


@pytest.mark.subprocess
def test_clips_from_stills_end_at_the_still(tmp_path: Path) -> None:
    stills = _Stills({"train": 1}, 24, 48, 64, 15)
    jobs = ClipsFromImages(2, "last", 0, SceneMotion()).jobs(stills, "train", GOP)
    for place, index in (("last", GOP - 1), ("middle", GOP // 2), ("first", 0)):
        job = ClipsFromImages(2, "last", 0, SceneMotion(), place).jobs(stills, "train", GOP)[0]
        assert [np.array_equal(image, job.image.read()[0]) for image, _ in job.frames()].index(True) == index
        assert (job.fingerprint() == jobs[0].fingerprint()) is (place == "last")
    for wrong in (("last", "end"), ("all", "middle")):
        with pytest.raises(UserError, match=f"place.*{wrong[1]}"):
            ClipsFromImages(2, wrong[0], 0, SceneMotion(), wrong[1])
    made = prepare(jobs, ENCODING, tmp_path, workers=1)
    names = [f"{name}_v{variant}_from00" for variant in (0, 1) for name in ("a", ODD)]
    assert [c.name for c in made] == names
    for clip in made:
        assert clip.length == GOP
        np.testing.assert_array_equal(clip.read_labels(GOP - 1, (48, 64)), _Picture("a").read()[1])
    candidates = training_candidates(made, range(GOP - 1, GOP))
    assert [c.frames for c in candidates] == [(GOP - 1,)] * 4


class _Broken(Street):
    def videos(self, split: str) -> list[Any]:
        return [_BrokenFilm()]


class _BrokenFilm:
    name, fps = "broken", 15

    def __len__(self) -> int:
        return 9

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        yield np.zeros((32, 32, 3), np.uint8), None
        raise UserError("frame 1 is damaged; replace it")

    def fingerprint(self) -> Any:
        return "broken"


@pytest.mark.subprocess
def test_a_clip_that_fails_leaves_nothing(tmp_path: Path) -> None:
    jobs = ClipsFromVideos(1).jobs(_Broken({"val": 1}, 24, 48, 64, 15), "val", GOP)
    with pytest.raises(UserError, match="damaged"):
        prepare(jobs, ENCODING, tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []
