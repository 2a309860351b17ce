"""NYUDv2 (Silberman et al., ECCV 2012) with 40 classes (Gupta et al., CVPR 2013): its images and label values.

Below `root`, as published copies for segmentation have it: train.txt and test.txt with a line RGB/NAME.jpg for each
image (more columns are not read), RGB/NAME.jpg and Label/NAME.png of the values 0 (void) and 1..40.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from src.data.datasets.base import LabelledDataset, LabelledImage
from src.data.datasets.files import ImageFile
from src.data.datasets.voc import voc_palette
from src.data.images import Normalisation
from src.data.labels import IGNORE, ClassSet, IndexCoding
from src.data.still_animation.layers import SceneRoles
from src.errors import UserError

NAMES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip


class Nyudv2(LabelledDataset):
    """The data set below `root`.

    Args:
        root: folder with RGB/, Label/ and the lists.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.

    Raises:
        UserError: no root, or no RGB/ and Label/ below it.
    """

    splits = ("train", "test")
    roles = SceneRoles(sky=(), ground=(0, 1, 21), thin=(), moving=(30,))  # walls, floor and ceiling; persons

    def __init__(self, root: str | None, mean: list[float], std: list[float]) -> None:
        if root is None:
            raise UserError("data.root is not set; give data.root=PATH or set NYUDV2_ROOT to the folder with RGB/")
        self.root = Path(root)
        for folder in ("RGB", "Label"):
            if not (self.root / folder).is_dir():
                raise UserError(f"data.root '{root}' has no {folder}/; docs/data.md shows the layout of NYUDv2")
        self.classes = ClassSet(NAMES, voc_palette(len(NAMES) + 1)[1:])
        self.coding = IndexCoding(tuple((index + 1, index) for index in range(len(NAMES))), (0, IGNORE))
        self.normalisation = Normalisation.of(mean, std)

    def images(self, split: str) -> list[LabelledImage]:
        """Labelled images of train (795) or test (654)."""
        listing = self.root / f"{split}.txt"
        if not listing.is_file():
            raise UserError(f"list '{listing}' does not exist; docs/data.md shows the layout of NYUDv2")
        images = sorted(line.split()[0] for line in listing.read_text(errors="replace").splitlines() if line.strip())
        if not images:
            raise UserError(f"list '{listing}' is empty; give it a line RGB/NAME.jpg for each image")
        return [self._image(PurePosixPath(image)) for image in images]

    def _image(self, image: PurePosixPath) -> ImageFile:
        return ImageFile(image.stem, self.root / image, self.root / "Label" / f"{image.stem}.png", self.coding)
