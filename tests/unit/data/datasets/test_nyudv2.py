"""NYUDv2 on a miniature in its published tree."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.datasets.nyudv2 import Nyudv2
from src.errors import UserError
from tests.support import miniatures

STATISTICS = ([0.4] * 3, [0.3] * 3)


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
