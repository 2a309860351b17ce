"""The classes that official releases predict."""

from __future__ import annotations

from src.data.datasets.camvid import camvid_classes
from src.data.datasets.cityscapes import CITYSCAPES

CLASSES = {"camvid": camvid_classes(void=True), "cityscapes": CITYSCAPES}
