"""CamVid: its files and label values.

Two layouts are recognised below `root`: the 480x360 copy with index labels (train/, trainannot/, val/, valannot/,
test/, testannot/) and the official 960x720 release (701_StillsRaw_full/, LabeledApproved_full/), with the raw videos
beside these two folders where motion is to come from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from src.data.datasets.base import LabelledDataset, LabelledImage, LabelledVideo
from src.data.datasets.camvid_raw import is_name, parse_name, raw_videos
from src.data.datasets.files import ImageFile, ImageSequence, reject_or_skip
from src.data.images import Normalisation
from src.data.labels import IGNORE, ClassSet, ColourCoding, IndexCoding, LabelCoding
from src.errors import UserError
from src.files import visible

NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = (0, 0, 0)
SPLITS = ("train", "val", "test")
VIDEO_RATE = 30  # frame numbers in file names count 30 Hz frames


def camvid_classes(void: bool) -> ClassSet:
    """The 11 classes, or the 12 of AR-Seg's released networks, which learn void as a class."""
    return ClassSet((*NAMES, "void"), (*PALETTE, VOID)) if void else ClassSet(NAMES, PALETTE)


def label_coding(void: bool, coloured: bool) -> LabelCoding:
    """Return the meaning of label values: unlabelled pixels are `IGNORE`, or class 11 where void is a class."""
    if coloured:  # the other 20 colours of the official release are ignored
        palette = camvid_classes(void).palette
        return ColourCoding(tuple((colour, index) for index, colour in enumerate(palette)), None)
    classes = tuple((index, index) for index in range(len(NAMES) + void))
    return IndexCoding(classes, (IGNORE,) if void else (len(NAMES), IGNORE))


class CamVid(LabelledDataset):
    """The data set below `root`.

    Args:
        root: folder of either layout.
        void: learn void as a twelfth class, as AR-Seg's released networks do.
        films: take videos from the raw videos.
        fps: of the raw videos.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.
        on_damage: "stop" at images that are not named as CamVid names them, or "skip" them.

    Raises:
        UserError: no root, or neither layout below it.
    """

    def __init__(
        self,
        root: str | None,
        void: bool,
        films: bool,
        fps: int,
        mean: list[float],
        std: list[float],
        on_damage: str,
    ) -> None:
        if root is None:
            raise UserError("data.root is not set; give data.root=PATH or set CAMVID_ROOT to the CamVid folder")
        self.root, self.fps, self.on_damage = Path(root), fps, on_damage
        self.has_raw = films
        self.coloured = (self.root / "701_StillsRaw_full").is_dir()
        if not self.coloured and not (self.root / "train").is_dir():
            raise UserError(
                f"data.root '{root}' has neither train/ + trainannot/ (480x360 copy) nor 701_StillsRaw_full/ + "
                "LabeledApproved_full/ (official release); unpack one of them there"
            )
        if films and not self.coloured:
            raise UserError(
                f"data.root '{root}' is the 480x360 copy, raw videos belong to the official release; use data=camvid"
            )
        self.splits = SPLITS if self.coloured else tuple(s for s in SPLITS if (self.root / s).is_dir())
        self.coding = label_coding(void, self.coloured)
        self.classes = camvid_classes(void)
        self.normalisation = Normalisation.of(mean, std)

    def images(self, split: str) -> list[LabelledImage]:
        """Labelled images of train (367), val (101) or test (233)."""
        return list(self._frames(split))

    def videos(self, split: str) -> list[LabelledVideo]:
        """The raw videos with labels on some frames; without `films`, runs of labelled images two video frames apart.

        Of these runs val has one, a video of 15 Hz; train and test have none.
        """
        stills = self._frames(split)
        return raw_videos(self.root, stills, self.fps, self.on_damage) if self.has_raw else _runs(stills)

    def _frames(self, split: str) -> list[ImageFile]:
        if self.coloured:
            images = self._named(visible(self.root / "701_StillsRaw_full", "*.png"))
            images = [p for p in images if _split(p.stem) == split]
            pairs = [(p, self.root / "LabeledApproved_full" / f"{p.stem}_L.png") for p in images]
        else:
            images = self._named(visible(self.root / split, "*.png"))
            pairs = [(p, self.root / f"{split}annot" / p.name) for p in images]
        if not pairs:
            raise UserError(f"data.root '{self.root}' has no images of the split '{split}'; unpack them there")
        missing = [labels for _, labels in pairs if not labels.is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(pairs)} images of '{split}' have no labels, the first is '{missing[0]}'; "
                "unpack the labels beside the images"
            )
        return [ImageFile(p.stem, p, labels, self.coding) for p, labels in sorted(pairs)]

    def _named(self, images: Iterable[Path]) -> list[Path]:
        """Those named as CamVid names them."""
        found = []
        for path in images:
            if is_name(path.stem):
                found.append(path)
            else:
                rule = "FILM_NUMBER.png"
                reject_or_skip(f"'{path}' is not named {rule}; remove it or set data.on_damage=skip", self.on_damage)
        return found


def _runs(stills: list[ImageFile]) -> list[LabelledVideo]:
    runs: list[list[ImageFile]] = []
    for still, following in pairwise(stills):
        if not runs or runs[-1][-1] != still:
            runs.append([still])
        (video, number), (video_after, number_after) = parse_name(still.name), parse_name(following.name)
        if video_after == video and number_after - number <= 2:
            runs[-1].append(following)
    return [
        ImageSequence(
            run[0].name,
            VIDEO_RATE // 2,
            tuple((index, still.labels) for index, still in enumerate(run)),
            run[0].coding,
            tuple(still.image for still in run),
        )
        for run in runs
        if len(run) > 1
    ]


def _split(name: str) -> str:
    """The split of the 367 / 101 / 233 protocol, which follows from video and frame number."""
    video, number = parse_name(name)
    if video == "Seq05VD" or (video == "0001TP" and number >= 8550):
        return "test"
    return "val" if video == "0016E5" and 7959 <= number <= 8159 and number % 2 else "train"
