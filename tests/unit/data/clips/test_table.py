"""Clips are verified when they are first used; what is not what was made is made again, or refused in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.data.clips.cache import prepare
from src.data.clips.check import faults
from src.data.clips.dataset import scored_candidates, training_candidates
from src.data.clips.files import describe, flat_place_of
from src.data.clips.index import SUFFIXES, locate
from src.data.clips.recipes import ClipsFromVideos
from src.data.clips.table import Clips
from src.data.street.dataset import Street
from src.errors import UserError
from src.video.types import CodecSettings

GOP, SIZE = 4, (48, 64)
ENCODING = CodecSettings("h264", GOP, 15, crf=30, preset="ultrafast")
JOBS = ClipsFromVideos(2).jobs(Street({"train": 1}, 9, *SIZE, 15), "train", GOP)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("whole")
    prepare(JOBS, ENCODING, cache, workers=1)
    return cache


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "cache"))


def clips_of(cache: Path, classes: int = 11) -> Clips:
    return prepare(JOBS, ENCODING, cache, 1, classes=classes)


def files(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in cache.rglob("*") if p.is_file()}


def places(cache: Path) -> list[Path]:
    """Of the two clips, without suffixes."""
    return [clip.video.with_suffix("") for clip in prepare(JOBS, ENCODING, cache, 1)]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def swap(first: Path, second: Path) -> None:
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def wrong_labels(path: Path) -> None:
    np.savez_compressed(path, **{str(n): np.full(SIZE, 77, np.uint8) for n in range(9)})


SPOILT: dict[str, Callable[[Path, Path], object]] = {
    "a flipped bit in the video": lambda a, b: flip(a.with_suffix(".mp4")),
    "labels of another clip": lambda a, b: swap(a.with_suffix(".npz"), b.with_suffix(".npz")),
    "a video of another clip": lambda a, b: swap(a.with_suffix(".mp4"), b.with_suffix(".mp4")),
    "a whole other clip": lambda a, b: [shutil.copy(b.with_suffix(s), a.with_suffix(s)) for s in SUFFIXES],
    "labels out of range": lambda a, b: wrong_labels(a.with_suffix(".npz")),
    "torn labels": lambda a, b: os.truncate(a.with_suffix(".npz"), 50),
    "a torn record": lambda a, b: os.truncate(a.with_suffix(".json"), 50),
    "a record of another form": lambda a, b: a.with_suffix(".json").write_text('{"key": [1], "film": 3}'),
}  # fmt: skip


@pytest.mark.parametrize("fault", SPOILT)
def test_what_is_not_what_was_made_is_made_again_at_its_first_use(
    whole: Path, cache: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = places(cache)
    SPOILT[fault](first, second)
    clips = clips_of(cache)
    assert not caplog.text, "the start does not read the clips"
    clip = clips[0]
    assert caplog.text.count(f"clip '{clip.name}' is made again") == 1
    list(clips), list(clips_of(cache))
    assert caplog.text.count(f"clip '{clip.name}' is made again") == 1
    assert files(cache) == files(whole)


def test_a_clip_is_verified_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = clips_of(cache)
    before = list(clips)
    monkeypatch.setattr("src.data.clips.table.read_record", lambda place: pytest.fail("it was looked at again"))
    assert list(clips) == before


def test_a_damaged_manifest_is_not_believed(whole: Path, cache: Path) -> None:
    manifest = cache / "manifest.jsonl"
    text = manifest.read_text()
    manifest.write_text(text.replace('"length": 9', '"length": 5'))
    assert manifest.read_text() != text
    assert list(clips_of(cache).lengths) == list(clips_of(whole).lengths) == [9, 8]


def test_a_damaged_clip_that_cannot_be_written_again_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = places(cache)
    flip(first.with_suffix(".mp4"))

    def read_only(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("src.data.clips.table.write_clip", read_only)
    with pytest.raises(
        UserError, match=r"is damaged \(different: .*\) and cannot be written again \(Permission denied\)"
    ):
        clips_of(cache)[0]


@pytest.mark.parametrize(
    ("value", "shape", "message"), [(11, SIZE, r"hold 11, the classes are 0\.\.10"), (0, (9, 9), "of shape")]
)
def test_labels_that_suit_their_record_but_not_the_data_set_are_refused(
    cache: Path, value: int, shape: tuple[int, int], message: str
) -> None:
    first, _ = places(cache)
    path, record = first.with_suffix(".npz"), json.loads(first.with_suffix(".json").read_text())
    np.savez_compressed(path, **{str(n): np.full(shape, value, np.uint8) for n in record["labelled"]})
    first.with_suffix(".json").write_text(json.dumps(record | {"labels": describe(path)}))
    with pytest.raises(UserError, match=message):
        clips_of(cache)[0].read_labels(3, SIZE)


def test_clips_of_earlier_versions_are_used_where_they_are(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in places(cache):
        for suffix in SUFFIXES:
            os.replace(place.with_suffix(suffix), flat_place_of(cache, place.name).with_suffix(suffix))
        place.parent.rmdir()
    (cache / "manifest.jsonl.sha256").unlink()
    monkeypatch.setattr("src.data.clips.cache._make_all", lambda *_: pytest.fail("a clip was made again"))
    clips = clips_of(cache)
    assert [clip.video.parent for clip in clips] == [cache, cache]
    flip(clips[0].video)
    assert clips_of(cache)[0] == clips[0]


def test_a_flat_clip_that_is_made_again_is_the_only_one_of_its_key(cache: Path) -> None:
    place = places(cache)[0]
    flat = flat_place_of(cache, place.name)
    for suffix in SUFFIXES:
        os.replace(place.with_suffix(suffix), flat.with_suffix(suffix))
    flat.with_suffix(".mp4").write_bytes(b"torn")
    shutil.copy(flat.with_suffix(".npz"), place.with_suffix(".npz"))  # half a clip in its folder hides none
    assert locate(cache, place.name) == flat
    prepare(JOBS, ENCODING, cache, 1, thorough=True)
    assert not list(cache.glob(f"{place.name}.*"))
    assert faults(JOBS, ENCODING, cache) == []
    flat.with_suffix(".json").write_text("{}")  # left by a kill
    assert locate(cache, place.name) == place


def test_candidates_are_those_of_the_definition(cache: Path) -> None:
    clips = clips_of(cache)
    distances = range(1, GOP)
    expected = []
    for clip in clips:
        for key in range(0, clip.length, GOP):
            frames = tuple(key + d for d in distances if key + d in clip.labelled)
            expected += [(clip, key, frames)] if frames else []
    found = training_candidates(clips, distances)
    assert list(found) == expected
    single = [(clip, key, (frame,)) for clip, key, frames in expected for frame in frames]
    assert list(found.one_per_frame()) == single
    assert found.one_per_frame().distances().tolist() == [frames[0] - key for _, key, frames in single]
    scored = [
        (clip, index - index % GOP, (index,))
        for clip in clips
        for index in clip.labelled
        if (place := clip.start + index - GOP + 1) >= 0 and place % 2 == 0 and index % GOP in (1, 3)
    ]
    assert list(scored_candidates(clips, [1, 3], stride=2)) == scored
