"""VOC 2012 on a miniature in its official tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.data.clips.recipes import ClipsFromImages
from src.data.datasets.download import Archive
from src.data.datasets.voc import Voc
from src.data.still_animation.motion import SceneMotion
from src.errors import UserError
from tests.support import miniatures

STATISTICS = ([0.4] * 3, [0.3] * 3)
NO_ARCHIVE = Archive("http://localhost/VOCtrainval_11-May-2012.tar", "")


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
