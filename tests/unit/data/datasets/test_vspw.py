"""VSPW on a miniature in its official tree."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.clips.recipes import ClipsFromVideos
from src.data.datasets.vspw import Vspw
from src.errors import UserError
from tests.support import miniatures

STATISTICS = ([0.4] * 3, [0.3] * 3)


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
