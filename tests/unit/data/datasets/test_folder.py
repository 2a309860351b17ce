"""Folders of images and videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from src.data.datasets.base import images_of
from src.data.datasets.folder import Folder
from src.errors import UserError
from tests.support import miniatures
from tests.support.miniatures import moving, write

STATISTICS = ([0.4] * 3, [0.3] * 3)


@pytest.mark.parametrize("labels", ["index", "colour"])
def test_a_folder_of_films_and_pictures(tmp_path: Path, labels: str) -> None:
    source = Folder(str(miniatures.folder(tmp_path, labels)), 25, *STATISTICS, "stop")
    assert [s.name for s in source.images("train")] == ["one", "two"]
    assert set(np.unique(source.images("train")[0].read()[1])) == {0, 1, 2, 255}
    ride, walk = source.videos("val")
    assert (ride.labelled_frames(), len(ride), walk.labelled_frames(), len(walk)) == ((7, 11), 14, (6,), 12)
    frames = list(ride.frames(5, 9))
    assert [f[1] is not None for f in frames] == [False, False, True, False]
    for index, (picture, _) in enumerate(frames, start=5):
        errors = [np.abs(picture.astype(int) - moving(index + offset)).mean() for offset in (-1, 0, 1)]
        assert np.argmin(errors) == 1, "frames of a film with B frames come in display order"


def test_a_folder_whose_parts_do_not_fit_is_refused_or_thinned(tmp_path: Path) -> None:
    root = miniatures.folder(tmp_path)
    write(root / "val/labels/ride/000014.png", np.zeros(miniatures.SIZE, np.uint8))
    (root / "val/labels/one.png").unlink()
    strict, lenient = (Folder(str(root), 25, *STATISTICS, policy) for policy in ("stop", "skip"))
    with pytest.raises(UserError, match=r"000014\.png' is not named by one of the 14 frames"):
        strict.videos("val")
    with pytest.raises(UserError, match=r"image '.*one\.png' has no labels"):
        strict.images("val")
    assert lenient.videos("val")[0].labelled_frames() == (7, 11)
    assert [s.name for s in lenient.images("val")] == ["two"]
    with pytest.raises(UserError, match="has train, val; give"):
        images_of(strict, "test")


def test_videos_that_cannot_be_read_are_refused_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = miniatures.folder(tmp_path)
    (root / "val" / "films" / "ride.mp4").write_bytes(b"")
    strict, lenient = (Folder(str(root), 25, *STATISTICS, policy) for policy in ("stop", "skip"))
    with pytest.raises(UserError, match=r"ride\.mp4' is empty"):
        strict.videos("val")
    assert [s.name for s in lenient.videos("val")] == ["walk"]
    assert "left out: video '" in caplog.text


def test_a_video_without_labels_is_left_out_unread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = miniatures.folder(tmp_path)
    (root / "val" / "films" / "copy of ride.mp4").write_bytes(b"no video")
    strict, lenient = (Folder(str(root), 25, *STATISTICS, policy) for policy in ("stop", "skip"))
    with pytest.raises(UserError, match="'copy of ride' has no labelled frame"):
        strict.videos("val")
    assert [s.name for s in lenient.videos("val")] == ["ride", "walk"]
    assert "left out: video 'copy of ride' has no labelled frame" in caplog.text


def test_hidden_files_of_archives_are_not_looked_at(tmp_path: Path) -> None:
    root = miniatures.with_hidden_files(miniatures.folder(tmp_path / "folder"), tmp_path / "hidden")
    source = Folder(str(root), 25, *STATISTICS, "stop")
    assert [s.name for s in source.images("train")] == ["one", "two"]
    assert [s.name for s in source.videos("val")] == ["ride", "walk"]
    assert source.splits == ("train", "val")


def test_labels_without_a_video_and_files_that_are_not_read_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = miniatures.folder(tmp_path)
    (root / "val" / "films" / "ride.mp4").rename(root / "val" / "films" / "ride.flv")
    (root / "val" / "pictures" / "three.heic").touch()
    strict, lenient = (Folder(str(root), 25, *STATISTICS, policy) for policy in ("stop", "skip"))
    with pytest.raises(UserError, match=r"labels '.*val/labels/ride' belong to no video in '.*val/films'.*\.mp4"):
        strict.videos("val")
    for _ in range(2):
        assert [s.name for s in lenient.videos("val")] == ["walk"]
        assert len(lenient.images("val")) == 2
    assert caplog.text.count("ride.flv' are not read; only .mp4,") == 1
    assert caplog.text.count("three.heic' are not read; only .png,") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["floor"]}, "1 names and 3 colours"),
        ({"names": ["a", "a", "b"]}, "twice"),
        ({"labels": "colours"}, "not index or colour"),
        ({"ignore": [1]}, "from 3 to 255"),
        ({"colours": [[0, 0, 0], [1, 2], [3, 3, 3]]}, "not a colour"),
        ({"extra": 1}, "has the keys .*extra.*; give colours, ignore, labels, names and no others"),
        (
            {"names": list(range(300)), "colours": [[i % 256, i // 256, 0] for i in range(300)]},
            "300 classes; give at most",
        ),
        ({"names": ["a\nb", "c", "d"]}, r"the name 'a\\nb'; give names"),
    ],
)
def test_a_wrong_class_file_is_named(tmp_path: Path, change: dict, message: str) -> None:
    root = miniatures.folder(tmp_path)
    content = yaml.safe_load((root / "classes.yaml").read_text())
    (root / "classes.yaml").write_text(yaml.safe_dump({**content, **change}))
    with pytest.raises(UserError, match=message):
        Folder(str(root), 25, *STATISTICS, "stop")


def test_label_values_that_mean_nothing_are_named(tmp_path: Path) -> None:
    root = miniatures.folder(tmp_path / "index")
    write(root / "val/labels/two.png", np.full(miniatures.SIZE, 77, np.uint8))
    with pytest.raises(UserError, match=r"values \[77\]; only 0..2, 255 are known"):
        Folder(str(root), 25, *STATISTICS, "stop").images("val")[1].read()
    root = miniatures.folder(tmp_path / "colour", "colour")
    write(root / "val/labels/two.png", np.full((*miniatures.SIZE, 3), 50, np.uint8))
    with pytest.raises(UserError, match=r"\(50, 50, 50\)"):
        Folder(str(root), 25, *STATISTICS, "stop").images("val")[1].read()
