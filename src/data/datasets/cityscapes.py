"""Cityscapes: its files and label values.

Below `root`, as the archives unpack: gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png and, of the same names,
leftImg8bit/.._leftImg8bit.png (labelled images) and leftImg8bit_sequence/.._leftImg8bit.png (snippets of 30 frames
at 17 Hz, of which the 20th is labelled).
"""

from __future__ import annotations

import re
from pathlib import Path

from src.data.datasets.base import LabelledDataset, LabelledImage, LabelledVideo
from src.data.datasets.files import ImageFile, ImageSequence, reject_or_skip
from src.data.images import Normalisation
from src.data.labels import ClassSet, IndexCoding
from src.data.still_animation.layers import SceneRoles
from src.errors import UserError
from src.files import visible

CITYSCAPES = ClassSet(
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # of the classes 0..18
HIGHEST_ID = 33  # the licence plate, -1 in the table of labels, is drawn by no label map
LABELLED, SNIPPET = 19, 30  # index of the labelled frame in its snippet, and frames of a snippet
ORIGIN = "register at https://www.cityscapes-dataset.com and unpack {archive} below data.root"
_NAME = re.compile(r"(?P<place>[a-z-]+_\d{6})_(?P<frame>\d{6})_gtFine_labelIds\.png")


def label_coding() -> IndexCoding:
    """Label ids 0..33 to the 19 classes that are evaluated; the others are ignored."""
    ignored = tuple(value for value in range(HIGHEST_ID + 1) if value not in LABEL_IDS)
    return IndexCoding(tuple((value, index) for index, value in enumerate(LABEL_IDS)), ignored)


class Cityscapes(LabelledDataset):
    """The data set below `root`.

    Args:
        root: folder with gtFine/ and leftImg8bit/ or leftImg8bit_sequence/ or both.
        fps: of the snippets.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.
        on_damage: "stop" at label files that are not named as Cityscapes names them, or "skip" them.

    Raises:
        UserError: no root, or no labels below it.
    """

    splits = ("train", "val", "test")  # whose labels are held back: for src.eval submission=FOLDER
    server_values = LABEL_IDS
    roles = SceneRoles(sky=(10,), ground=(0, 1, 9), thin=(5, 6, 7), moving=tuple(range(11, 19)))

    def __init__(self, root: str | None, fps: int, mean: list[float], std: list[float], on_damage: str) -> None:
        if root is None:
            raise UserError(
                "data.root is not set; give data.root=PATH or set CITYSCAPES_ROOT to the folder with gtFine/, or "
                + ORIGIN.format(archive="gtFine_trainvaltest.zip, leftImg8bit_trainvaltest.zip")
            )
        self.root, self.fps, self.on_damage = Path(root), fps, on_damage
        if not (self.root / "gtFine").is_dir():
            raise UserError(
                f"data.root '{root}' has no gtFine/; " + ORIGIN.format(archive="gtFine_trainvaltest.zip there")
            )
        self.classes = CITYSCAPES
        self.normalisation = Normalisation.of(mean, std)

    def images(self, split: str) -> list[LabelledImage]:
        """Images of train (2975), val (500) or test (1525); from the snippets where leftImg8bit/ is not unpacked."""
        folder = "leftImg8bit" if (self.root / "leftImg8bit").is_dir() else "leftImg8bit_sequence"
        self._check_unpacked(folder, "leftImg8bit_trainvaltest.zip")
        return [
            ImageFile(f"{place}_{frame:06d}", self._image(folder, labels, place, frame), labels, label_coding())
            for labels, place, frame in self._labels(split)
        ]

    def videos(self, split: str) -> list[LabelledVideo]:
        """The snippets of train or val, each with its one labelled frame."""
        self._check_unpacked("leftImg8bit_sequence", "leftImg8bit_sequence_trainvaltest.zip (324 GB)")
        return [self._snippet(*found) for found in self._labels(split)]

    def server_file(self, name: str) -> str:
        """Return CITY_SEQUENCE_FRAME_pred_labelIds.png; the server looks for one CITY_SEQUENCE_FRAME*.png per image."""
        return f"{'_'.join(name.split('_')[:3])}_pred_labelIds.png"

    def _snippet(self, labels: Path, place: str, frame: int) -> ImageSequence:
        first = frame - LABELLED
        images = tuple(self._image("leftImg8bit_sequence", labels, place, n) for n in range(first, first + SNIPPET))
        name = f"{place}_{frame:06d}"
        return ImageSequence(name, self.fps, ((LABELLED, labels),), label_coding(), images)

    def _image(self, folder: str, labels: Path, place: str, frame: int) -> Path:
        split, city = labels.parts[-3:-1]
        return self.root / folder / split / city / f"{place}_{frame:06d}_leftImg8bit.png"

    def _labels(self, split: str) -> list[tuple[Path, str, int]]:
        """Label files of a split, by name, with place and frame number."""
        found = []
        for path in visible(self.root / "gtFine" / split, "*/*labelIds.png"):
            match = _NAME.fullmatch(path.name)
            if match is None or int(match["frame"]) < LABELLED:
                rule = "CITY_SEQUENCE_FRAME_gtFine_labelIds.png"
                reject_or_skip(f"'{path}' is not named {rule}; remove it or set data.on_damage=skip", self.on_damage)
            else:
                found.append((path, match["place"], int(match["frame"])))
        if not found:
            raise UserError(f"'{self.root / 'gtFine' / split}' holds no labels; unpack gtFine_trainvaltest.zip there")
        return found

    def _check_unpacked(self, folder: str, archive: str) -> None:
        if not (self.root / folder).is_dir():
            raise UserError(f"data.root '{self.root}' has no {folder}/; " + ORIGIN.format(archive=archive))
