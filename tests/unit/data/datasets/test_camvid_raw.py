"""CamVid's raw films on a miniature."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from src.data.clips.recipes import ClipsAtLabels
from src.data.datasets.camvid import CamVid
from src.errors import UserError
from tests.support import miniatures
from tests.support.miniatures import moving

STATISTICS = ([0.4] * 3, [0.3] * 3)


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


def test_a_film_that_cannot_be_read_is_refused_or_left_out(
    tmp_path: Path, films: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = Path(shutil.copytree(films, tmp_path / "camvid"))
    (raw / "0016E5.MXF").write_bytes(b"")
    strict, lenient = (CamVid(str(raw), False, True, 30, *STATISTICS, policy) for policy in ("stop", "skip"))
    with pytest.raises(UserError, match=r"0016E5\.MXF' is empty"):
        strict.videos("val")
    assert lenient.videos("val") == []
    assert "left out: video '" in caplog.text


def test_hidden_files_of_archives_are_not_looked_at(films: Path, tmp_path: Path) -> None:
    unpacked = camvid(miniatures.with_hidden_files(films, tmp_path))
    assert len(unpacked.images("test")) == len(camvid(films).images("test"))
