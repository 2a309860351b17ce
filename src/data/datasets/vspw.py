"""VSPW (Miao et al., CVPR 2021): videos with a label map for each frame, their files and label values.

Below `root`, as the release and its 480p copy unpack: train.txt, val.txt and test.txt with the names of videos,
label_num_dic_final.json with the value of each class, and data/VIDEO/origin/FRAME.jpg with data/VIDEO/mask/FRAME.png.
"""

from __future__ import annotations

from pathlib import Path

from src.data.datasets.base import LabelledDataset, LabelledImage, LabelledVideo
from src.data.datasets.files import ImageFile, ImageSequence, reject_or_skip
from src.data.datasets.voc import voc_palette
from src.data.images import Normalisation
from src.data.labels import ClassSet, IndexCoding
from src.errors import UserError
from src.files import read_json, visible

CLASSES = 124
IGNORED = (0, 255)  # "others" and void; neither is evaluated
NAMES = "label_num_dic_final.json"


class Vspw(LabelledDataset):
    """The data set below `root`.

    Args:
        root: folder with data/, the lists of videos and the table of classes.
        fps: of the frames.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.
        on_damage: "stop" at label maps without a frame, or "skip" them.

    Raises:
        UserError: no root, or no table of the 124 classes below it.
    """

    splits = ("train", "val", "test")

    def __init__(self, root: str | None, fps: int, mean: list[float], std: list[float], on_damage: str) -> None:
        if root is None:
            raise UserError("data.root is not set; give data.root=PATH or set VSPW_ROOT to the folder with data/")
        self.root, self.fps, self.on_damage = Path(root), fps, on_damage
        self.classes = ClassSet(self._names(), voc_palette(CLASSES + 1)[1:])
        self.coding = IndexCoding(tuple((index + 1, index) for index in range(CLASSES)), IGNORED)
        self.normalisation = Normalisation.of(mean, std)

    def images(self, split: str) -> list[LabelledImage]:
        """Every labelled frame of train (2806 videos), val (343) or test (387)."""
        return [
            ImageFile(f"{video.name}_{video.images[index].stem}", video.images[index], labels, self.coding)
            for video in self._videos(split)
            for index, labels in video.labels
        ]

    def videos(self, split: str) -> list[LabelledVideo]:
        """The videos of a split, each of a size of its own."""
        return [*self._videos(split)]

    def _videos(self, split: str) -> list[ImageSequence]:
        listing = self.root / f"{split}.txt"
        if not listing.is_file():
            raise UserError(f"list '{listing}' does not exist; unpack the release of VSPW there completely")
        return [self._video(name) for name in sorted(listing.read_text(errors="replace").split())]

    def _video(self, name: str) -> ImageSequence:
        folder = self.root / "data" / name
        images, masks = tuple(visible(folder / "origin", "*.jpg")), visible(folder / "mask", "*.png")
        if not images or not masks:
            raise UserError(
                f"video '{folder}' has no {'mask' if images else 'origin'}/ with its frames; unpack it, or take it off "
                "the list of its split (labels of test may be held back)"
            )
        place = {image.stem: index for index, image in enumerate(images)}
        labels = []
        for mask in masks:
            if mask.stem in place:
                labels.append((place[mask.stem], mask))
            else:
                reject_or_skip(f"label map '{mask}' has no frame in origin/; remove it", self.on_damage)
        return ImageSequence(name, self.fps, tuple(labels), self.coding, images)

    def _names(self) -> tuple[str, ...]:
        path = self.root / NAMES
        if not path.is_file():
            raise UserError(f"data.root '{self.root}' has no {NAMES}; give the folder that VSPW unpacks to")
        table = read_json(path)
        by_value = {str(value): name for name, value in table.items()} if isinstance(table, dict) else {}
        missing = [value for value in range(1, CLASSES + 1) if str(value) not in by_value]
        if missing:
            raise UserError(f"'{path}' names no class of value {missing[0]}, VSPW has 1..{CLASSES}; unpack it again")
        return tuple(by_value[str(value)] for value in range(1, CLASSES + 1))
