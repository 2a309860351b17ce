"""What a player.zip holds is what was put into it, and one of foreign hands is refused."""

from __future__ import annotations

import json
import zipfile
import zlib
from fractions import Fraction

import cv2
import numpy as np
import pytest

from src.errors import UserError
from src.inference.player_record import (
    CONTENT,
    LONGEST,
    UNKNOWN,
    PlayerRecord,
    agreement,
    label_maps,
    read_record,
)
from src.video.types import Frame
from tests.support.tiny_runner import CLASSES


def frame(index, height=48, width=64, vectors=None):
    image = np.full((height, width, 3), (200, 40, 10), np.uint8)
    return Frame(image, "I" if vectors is None else "P", vectors, Fraction(index, 10), index)


def write(path, frames, systems=("a", "b"), labels=None):
    rng = np.random.default_rng(0)
    found = []
    with PlayerRecord(path, "street", CLASSES, systems, 0, 10) as record:
        for one in frames:
            found.append([rng.integers(0, len(CLASSES), one.image.shape[:2], np.uint8) for _ in systems])
            record.put(one, one.vectors is None, found[-1], labels)
    return found


def test_maps_and_vectors_come_back_exactly(tmp_path):
    vectors = np.array([[0, 0, 64, 32, -3.5, 2.25], [0, 32, 32, 16, 0, 0]], np.float32)  # the rest is intra
    labels = np.full((48, 64), 255, np.uint8)
    found = write(tmp_path / "player.zip", [frame(4), frame(5, vectors=vectors)], labels=labels)
    about, frames = read_record(tmp_path / "player.zip")
    assert (about["systems"], about["reference"], about["height"], about["width"]) == (["a", "b"], 0, 48, 64)
    assert [row.about["index"] for row in frames] == [4, 5]
    assert [row.about["key"] for row in frames] == [True, False]
    for one, (a, b) in zip(frames, found, strict=True):
        assert np.array_equal(label_maps(about, one), [labels, a, b])
        colour = cv2.imdecode(np.frombuffer(one.image, np.uint8), cv2.IMREAD_COLOR)[20, 20, ::-1]
        assert np.abs(colour.astype(int) - (200, 40, 10)).max() < 12
    assert frames[0].motion is None
    motion = np.frombuffer(zlib.decompress(frames[1].motion), "<i2").reshape(3, 4, 2)
    assert motion[0, 1].tolist() == [-14, 9]
    assert motion[2, 0].tolist() == [0, 0]
    assert motion[2, 3].tolist() == [UNKNOWN, UNKNOWN]


def test_large_frames_are_stored_smaller_with_their_vectors(tmp_path):
    vectors = np.array([[0, 0, 1280, 720, -8, 0]], np.float32)
    write(tmp_path / "player.zip", [frame(0, 720, 1280), frame(1, 720, 1280, vectors)], ["a"])
    about, frames = read_record(tmp_path / "player.zip")
    assert (about["height"], about["width"]) == (360, LONGEST)
    motion = np.frombuffer(zlib.decompress(frames[1].motion), "<i2").reshape(-1, 40, 2)
    assert motion[10, 20].tolist() == [-16, 0], "8 pixels are 4 stored ones, in quarters"


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), PlayerRecord(tmp_path / "player.zip", "x", CLASSES, ["a"], None, 10):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["no zip", "no content", "format", "size", "missing", "systems"])
def test_other_files_are_refused(tmp_path, fault):
    path = tmp_path / "player.zip"
    write(path, [frame(0)])
    with zipfile.ZipFile(path) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    about = json.loads(content[CONTENT])
    changes = {"format": {"format": 9}, "size": {"height": 47}, "systems": {"systems": ["a"] * 5}}
    content[CONTENT] = json.dumps({**about, **changes.get(fault, {})}).encode()
    for name, gone in (("no content", CONTENT), ("missing", "000000.maps")):
        if fault == name:
            del content[gone]
    with zipfile.ZipFile(path, "w") as parts:
        for name, part in content.items():
            parts.writestr(name, part)
    if fault == "no zip":
        path.write_bytes(b"zip")
    with pytest.raises(UserError, match=r"player\.zip' cannot be read"):
        read_record(path)


def test_ignored_pixels_do_not_count():
    one, other = np.array([[0, 1], [255, 2]], np.uint8), np.array([[0, 2], [1, 255]], np.uint8)
    assert agreement(one, other) == 0.5
    assert agreement(one, np.full((2, 2), 255, np.uint8)) is None
