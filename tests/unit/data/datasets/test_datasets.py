"""Cityscapes, CamVid's raw films, VOC 2012 and folders, on miniatures in their official trees."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from src.data.clips.recipes import ClipsAtLabels, ClipsFromImages, ClipsFromVideos
from src.data.datasets.base import digest_of, images_of
from src.data.datasets.camvid import CamVid
from src.data.datasets.cityscapes import CITYSCAPES, LABEL_IDS, Cityscapes
from src.data.datasets.download import Archive
from src.data.datasets.folder import Folder
from src.data.datasets.nyudv2 import Nyudv2
from src.data.datasets.voc import Voc
from src.data.datasets.vspw import Vspw
from src.data.still_animation.motion import SceneMotion
from src.errors import UserError
from tests.support import miniatures
from tests.support.miniatures import moving, write

STATISTICS = ([0.4] * 3, [0.3] * 3)
NO_ARCHIVE = Archive("http://localhost/VOCtrainval_11-May-2012.tar", "")


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


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.camvid_with_films(tmp_path_factory.mktemp("camvid"))


def camvid(root: Path) -> CamVid:
    return CamVid(str(root), False, True, 30, *STATISTICS, "stop")


def test_camvid_labels_meet_their_frames_of_the_raw_films(films: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = camvid(films)
    with caplog.at_level(logging.INFO):
        found = {s.name: s for split in ("train", "val", "test") for s in source.videos(split)}
    assert {"01TP_extract.avi", "0005VD.MXF", "0006R0.MXF", "0016E5.MXF"} == {
        record.getMessage().split(":")[0] for record in caplog.records if "correlation" in record.getMessage()
    }
    assert found["Seq05VD"].labelled_frames() == (1, 31)
    for split, number in (("train", 931), ("val", 7960), ("test", 1890)):
        sequence = next(s for s in source.videos(split) if number in s.labelled_frames())
        frames = list(sequence.frames(number - 2, number + 1))
        assert [labels is not None for _, labels in frames] == [False, False, True]
        for index, (picture, _) in enumerate(frames, start=number - 2):
            errors = [np.abs(picture.astype(int) - moving(index + o)).mean() for o in (-1, 0, 1)]
            assert np.argmin(errors) == 1


def test_camvid_gop_of_30(films: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        jobs = ClipsAtLabels("all", True).jobs(camvid(films), "test", 30)
    assert "1 of 3 labelled frames have too few frames" in caplog.text
    at = [job for job in jobs if job.name.startswith("0001TP")]
    assert [job.name for job in at] == [f"0001TP_01890_d{d:02d}" for d in range(30)]
    assert sum(labels is not None for _, labels in at[29].frames()) == 1


@pytest.mark.parametrize(("skipped", "found"), [(1, "-1"), (2, "-2")])
def test_a_film_that_was_cut_is_noticed_by_its_stills(films: Path, tmp_path: Path, skipped: int, found: str) -> None:
    shutil.copytree(films, tmp_path, dirs_exist_ok=True)
    miniatures.camvid_film(tmp_path / "0006R0.MXF", "mpeg2video", 940, skipped)
    with pytest.raises(UserError, match=rf"0006R0\.MXF' shows its labelled images {found} frames"):
        camvid(tmp_path).videos("train")
    (tmp_path / "0006R0.MXF").unlink()
    with pytest.raises(UserError, match="no raw video 0006R0"):
        camvid(tmp_path).videos("train")


def test_voc_reads_palettes_and_borders(tmp_path: Path) -> None:
    source = Voc(str(miniatures.voc(tmp_path)), NO_ARCHIVE, False, *STATISTICS)
    assert [s.name for s in source.images("train")] == ["2007_000032", "2007_000039", "2007_000063"]
    assert len(source.images("trainval")) == 5
    picture, labels = source.images("val")[0].read()
    assert picture.shape == (67, 56, 3)
    assert set(np.unique(labels)) == {0, 4, 255}
    assert source.classes.palette[15] == (192, 128, 128), "person"
    jobs = ClipsFromImages(1, "all", 0, SceneMotion()).jobs(source, "val", 4)
    assert [(job.start, len(job)) for job in jobs] == [(0, 4), (1, 3), (2, 2), (3, 1)] * 2
    for job in jobs[:4]:
        last, _ = list(job.frames())[-1]
        np.testing.assert_array_equal(last, picture)
    with pytest.raises(UserError, match="VOCtrainval_11-May-2012"):
        Voc(str(tmp_path / "elsewhere"), NO_ARCHIVE, False, *STATISTICS)


def test_vspw_reads_every_frame_and_ignores_others_and_void(tmp_path: Path) -> None:
    source = Vspw(str(miniatures.vspw(tmp_path)), 15, *STATISTICS, "stop")
    assert (len(source.classes), source.classes.names[0], source.classes.names[-1]) == (124, "class_1", "class_124")
    four, three = source.videos("val")[::-1]
    assert (three.name, len(three), three.labelled_frames(), four.name) == ("100_three", 9, tuple(range(9)), "9_four")
    image, labels = next(iter(four.frames(3)))
    assert image.shape == (40, 80, 3)
    assert labels is not None
    raw = cv2.imread(str(tmp_path / "data/9_four/mask/00000003.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, np.where((raw == 0) | (raw == 255), 255, raw - 1))
    assert set(np.unique(labels)) == {0, 59, 123, 255}
    assert [still.name for still in source.images("train")][:1] == ["12_two_00000000"]
    assert len(source.images("train")) == 18
    (tmp_path / "data/9_four/origin/00000008.jpg").unlink()
    with pytest.raises(UserError, match=r"00000008\.png' has no frame"):
        source.videos("val")
    with pytest.raises(UserError, match=r"2_test' has no mask/"):
        source.videos("test")
    (tmp_path / "label_num_dic_final.json").write_text(
        json.dumps({str(k): "seven" if k == 7 else k for k in range(125)})
    )
    with pytest.raises(UserError, match="names no class of value 7"):
        Vspw(str(tmp_path), 15, *STATISTICS, "stop")


def test_whole_videos_are_scored_from_their_first_frame(tmp_path: Path) -> None:
    source = Vspw(str(miniatures.vspw(tmp_path)), 15, *STATISTICS, "stop")
    recipe = ClipsFromVideos(1, every_frame=True)
    assert [(len(job), recipe.first_scored(4, 12)) for job in recipe.jobs(source, "val", 4)] == [(9, 0)] * 2
    assert ClipsFromVideos(1).first_scored(4, 4) == 3


def test_nyudv2_has_40_classes(tmp_path: Path) -> None:
    source = Nyudv2(str(miniatures.nyudv2(tmp_path)), *STATISTICS)
    assert (len(source.classes), source.classes.names[21]) == (40, "ceiling")
    assert [still.name for still in source.images("train")] == ["0", "1448", "2"]
    _, labels = source.images("test")[0].read()
    raw = cv2.imread(str(tmp_path / "Label/1.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, np.where(raw == 0, 255, raw - 1))
    (tmp_path / "test.txt").unlink()
    with pytest.raises(UserError, match=r"test\.txt' does not exist"):
        source.images("test")


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


def test_videos_that_cannot_be_read_are_refused_or_left_out(
    tmp_path: Path, films: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = miniatures.folder(tmp_path / "folder")
    (root / "val" / "films" / "ride.mp4").write_bytes(b"")
    strict, lenient = (Folder(str(root), 25, *STATISTICS, policy) for policy in ("stop", "skip"))
    with pytest.raises(UserError, match=r"ride\.mp4' is empty"):
        strict.videos("val")
    assert [s.name for s in lenient.videos("val")] == ["walk"]
    raw = Path(shutil.copytree(films, tmp_path / "camvid"))
    (raw / "0016E5.MXF").write_bytes(b"")
    strict_raw, lenient_raw = (CamVid(str(raw), False, True, 30, *STATISTICS, policy) for policy in ("stop", "skip"))
    with pytest.raises(UserError, match=r"0016E5\.MXF' is empty"):
        strict_raw.videos("val")
    assert lenient_raw.videos("val") == []
    assert "left out: video '" in caplog.text


def test_hidden_files_of_archives_are_not_looked_at(tmp_path: Path, films: Path, city: Path) -> None:
    roots = {
        "folder": miniatures.folder(tmp_path / "folder"),
        "camvid": Path(shutil.copytree(films, tmp_path / "camvid")),
        "city": Path(shutil.copytree(city, tmp_path / "city")),
    }
    for root in roots.values():
        for path in [path for path in root.rglob("*") if path.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
    source = Folder(str(roots["folder"]), 25, *STATISTICS, "stop")
    assert [s.name for s in source.images("train")] == ["one", "two"]
    assert [s.name for s in source.videos("val")] == ["ride", "walk"]
    assert source.splits == ("train", "val")
    assert len(camvid(roots["camvid"]).images("test")) == len(camvid(films).images("test"))
    assert len(cityscapes(roots["city"]).images("train")) == 2


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
