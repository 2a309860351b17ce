"""PASCAL VOC 2012 segmentation: still images with 21 classes, its files and label values.

Below `root`, as the archive unpacks: VOCdevkit/VOC2012/ with ImageSets/Segmentation/SPLIT.txt, JPEGImages/NAME.jpg and
SegmentationClass/NAME.png (palette images; the border of objects has the value 255).
"""

from __future__ import annotations

from pathlib import Path

from src.data.datasets.base import LabelledDataset, LabelledImage
from src.data.datasets.download import Archive, fetch
from src.data.datasets.files import ImageFile
from src.data.images import Normalisation
from src.data.labels import IGNORE, ClassSet, Colour, IndexCoding
from src.data.still_animation.layers import SceneRoles
from src.errors import UserError

NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
FOLDER = "VOCdevkit/VOC2012"


def voc_palette(count: int) -> tuple[Colour, ...]:
    """The development kit's colour map: bits 0, 3, 6 of the index are the highest of red, 1, 4, 7 of green, .."""
    colours = []
    for index in range(count):
        channels = [sum((index >> (3 * bit + c) & 1) << (7 - bit) for bit in range(3)) for c in range(3)]
        colours.append((channels[0], channels[1], channels[2]))
    return tuple(colours)


class Voc(LabelledDataset):
    """The data set below `root`.

    Args:
        root: folder with VOCdevkit/.
        archive: what `download` fetches.
        download: fetch and unpack it below root where VOCdevkit/ is missing.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.

    Raises:
        UserError: no root, or no VOCdevkit/VOC2012/ below it.
    """

    splits = ("train", "val", "trainval")
    roles = SceneRoles(sky=(), ground=(), thin=(), moving=tuple(range(1, len(NAMES))))

    def __init__(self, root: str | None, archive: Archive, download: bool, mean: list[float], std: list[float]) -> None:
        if root is None:
            raise UserError("data.root is not set; give data.root=PATH or set VOC_ROOT to the folder with VOCdevkit/")
        self.folder = Path(root) / FOLDER
        if download and not self.folder.is_dir():
            fetch(archive, Path(root))
        if not self.folder.is_dir():
            raise UserError(
                f"data.root '{root}' has no {FOLDER}/; unpack {archive.name} there, or let data.download=true fetch it"
            )
        self.classes = ClassSet(NAMES, voc_palette(len(NAMES)))
        self.coding = IndexCoding(tuple((index, index) for index in range(len(NAMES))), (IGNORE,))
        self.normalisation = Normalisation.of(mean, std)

    def images(self, split: str) -> list[LabelledImage]:
        """Labelled images of train (1464), val (1449) or trainval."""
        listing = self.folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not listing.is_file():
            raise UserError(f"list '{listing}' does not exist; unpack VOCtrainval_11-May-2012.tar completely")
        names = sorted(listing.read_text(errors="replace").split())
        if not names:
            raise UserError(f"list '{listing}' is empty; unpack VOCtrainval_11-May-2012.tar again")
        return [self._still(name) for name in names]

    def _still(self, name: str) -> ImageFile:
        image = self.folder / "JPEGImages" / f"{name}.jpg"
        return ImageFile(name, image, self.folder / "SegmentationClass" / f"{name}.png", self.coding)
