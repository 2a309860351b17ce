"""Cityscapes on a miniature in its official tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.clips.recipes import ClipsAtLabels
from src.data.datasets.base import digest_of, images_of
from src.data.datasets.cityscapes import CITYSCAPES, LABEL_IDS, Cityscapes
from src.errors import UserError
from tests.support import miniatures
from tests.support.miniatures import moving

STATISTICS = ([0.4] * 3, [0.3] * 3)


def cityscapes(root: Path, policy: str = "stop") -> Cityscapes:
    return Cityscapes(str(root), 17, *STATISTICS, policy)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.cityscapes(tmp_path_factory.mktemp("cityscapes"))


def test_cityscapes_stills_have_19_classes(city: Path) -> None:
    stills = cityscapes(city).images("train")
    assert [s.name for s in stills] == ["aachen_000000_000019", "hamburg_000000_000629"]
    picture, labels = stills[1].read()
    np.testing.assert_array_equal(picture, moving(629, 1))
    raw = cv2.imread(str(next((city / "gtFine/train/hamburg").glob("*labelIds.png"))), cv2.IMREAD_UNCHANGED)
    for index, value in enumerate(LABEL_IDS):
        assert ((raw == value) == (labels == index)).all()
    assert (labels[~np.isin(raw, LABEL_IDS)] == 255).all()
    assert len(CITYSCAPES) == len(set(CITYSCAPES.palette)) == 19


def test_cityscapes_snippets_put_the_label_at_every_distance(city: Path) -> None:
    source = cityscapes(city)
    (snippet,) = source.videos("val")
    assert (len(snippet), snippet.labelled_frames(), snippet.fps) == (30, (19,), 17)
    jobs = ClipsAtLabels("all", False).jobs(source, "val", 12)
    assert [len(job) for job in jobs] == list(range(1, 13))
    for distance, job in enumerate(jobs):
        frames = list(job.frames())
        assert [labels is not None for _, labels in frames] == [False] * distance + [True]
        np.testing.assert_array_equal(frames[0][0], moving(7973 - distance, 2))
    (last,) = ClipsAtLabels("last", True).jobs(source, "val", 12)
    assert (last.start, len(last)) == (8, 12)


def test_cityscapes_has_no_gop_beyond_20(city: Path) -> None:
    assert len(ClipsAtLabels("all", False).jobs(cityscapes(city), "train", 20)) == 2 * 20
    with pytest.raises(UserError, match=r"video\.gop=21 needs 20 frames .* at most 19; give video\.gop=20"):
        ClipsAtLabels("all", False).jobs(cityscapes(city), "train", 21)


def test_cityscapes_says_what_to_unpack(city: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cityscapes-dataset\.com"):
        Cityscapes(None, 17, *STATISTICS, "stop")
    with pytest.raises(UserError, match="has no gtFine/"):
        cityscapes(tmp_path)
    shutil.copytree(city / "gtFine", tmp_path / "gtFine")
    with pytest.raises(UserError, match="leftImg8bit_sequence_trainvaltest"):
        cityscapes(tmp_path).videos("train")
    shutil.copytree(city / "leftImg8bit", tmp_path / "leftImg8bit")
    assert digest_of(cityscapes(tmp_path), "train")  # of the images
    shutil.rmtree(tmp_path / "leftImg8bit")
    shutil.copytree(city / "leftImg8bit_sequence", tmp_path / "leftImg8bit_sequence")
    np.testing.assert_array_equal(cityscapes(tmp_path).images("train")[0].read()[0], moving(19))
    with pytest.raises(UserError, match="test' holds no labels; unpack gtFine_trainvaltest"):
        images_of(cityscapes(tmp_path), "test")
    with pytest.raises(UserError, match="has train, val, test"):
        images_of(cityscapes(tmp_path), "tset")
    (tmp_path / "gtFine/train/aachen/copy_gtFine_labelIds.png").write_bytes(b"")
    with pytest.raises(UserError, match="copy_gtFine_labelIds"):
        cityscapes(tmp_path).images("train")
    assert len(cityscapes(tmp_path, "skip").images("train")) == 2
    next((tmp_path / "leftImg8bit_sequence/val").glob("*/*_007960_*")).unlink()
    with pytest.raises(UserError, match="007960"):
        cityscapes(tmp_path).videos("val")[0].fingerprint()


def test_hidden_files_of_archives_are_not_looked_at(city: Path, tmp_path: Path) -> None:
    root = miniatures.with_hidden_files(city, tmp_path)
    assert len(cityscapes(root).images("train")) == 2
