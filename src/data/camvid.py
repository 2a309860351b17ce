"""CamVid: where its files are and what its labels mean.

Two layouts are recognised below `root`: the 480x360 copy with index labels (train/, trainannot/, val/, valannot/,
test/, testannot/) and the official 960x720 release (701_StillsRaw_full/, LabeledApproved_full/).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from src.data.labels import IGNORE, ClassSet, read_colour_labels, read_index_labels, read_picture
from src.data.source import Normalisation, Picture, Sequence, Source, Still, check_sizes
from src.errors import UserError

NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = (0, 0, 0)
SPLITS = ("train", "val", "test")
FILM_RATE = 30  # frame numbers in file names count 30 Hz frames


def camvid_classes(void: bool) -> ClassSet:
    """The 11 classes, or the 12 of AR-Seg's released networks, which learn void as a class."""
    return ClassSet((*NAMES, "void"), (*PALETTE, VOID)) if void else ClassSet(NAMES, PALETTE)


@dataclass(frozen=True)
class CamVidFrame(Still):
    """A picture and its labels, index or colour coded."""

    name: str
    picture: Path
    labels: Path
    void: bool
    coloured: bool

    def read(self) -> tuple[Picture, Picture]:
        """RGB and labels; unlabelled pixels are `IGNORE`, or class 11 where void is a class."""
        if self.coloured:
            classes = camvid_classes(self.void)
            table = {colour: index for index, colour in enumerate(classes.palette)}
            labels = read_colour_labels(self.labels, table)
        else:
            indices = np.full(256, -1, np.int16)
            indices[: len(NAMES)] = np.arange(len(NAMES))
            indices[[len(NAMES), IGNORE]] = (len(NAMES) if self.void else IGNORE), IGNORE
            labels = read_index_labels(self.labels, indices)
        return check_sizes(self.name, read_picture(self.picture), labels)

    def identity(self) -> Any:
        """Names, sizes and modification times of the files, and what void becomes."""
        files = (self.picture, self.labels)
        return [[(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files], self.void]


@dataclass(frozen=True)
class CamVidSequence(Sequence):
    """Consecutive labelled frames of one film."""

    name: str
    fps: int
    stills: tuple[CamVidFrame, ...]

    def __len__(self) -> int:
        return len(self.stills)

    def frames(self) -> Iterator[tuple[Picture, Picture | None]]:
        """Every frame with its labels."""
        return (still.read() for still in self.stills)

    def identity(self) -> Any:
        """Those of the frames."""
        return [still.identity() for still in self.stills]


class CamVid(Source):
    """The data set below `root`.

    Args:
        root: folder of either layout.
        void: learn void as a twelfth class, as AR-Seg's released networks do.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.

    Raises:
        UserError: no root, or neither layout below it.
    """

    def __init__(self, root: str | None, void: bool, mean: list[float], std: list[float]) -> None:
        if root is None:
            raise UserError("data.root is not set; give data.root=PATH or set CAMVID_ROOT to the CamVid folder")
        self.root = Path(root)
        self.void = void
        self.coloured = (self.root / "701_StillsRaw_full").is_dir()
        if not self.coloured and not (self.root / "train").is_dir():
            raise UserError(
                f"data.root '{root}' has neither train/ + trainannot/ (480x360 copy) nor 701_StillsRaw_full/ + "
                "LabeledApproved_full/ (official release); unpack one of them there"
            )
        self.classes = camvid_classes(void)
        self.normalisation = Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))

    def stills(self, split: str) -> list[Still]:
        """Labelled pictures of train (367), val (101) or test (233)."""
        return list(self._frames(split))

    def sequences(self, split: str) -> list[Sequence]:
        """The runs of frames two film frames apart: val is one film of 15 Hz, train and test have none."""
        runs: list[list[CamVidFrame]] = []
        frames = self._frames(split)
        for frame, following in pairwise(frames):
            if not runs or runs[-1][-1] != frame:
                runs.append([frame])
            if _film(following) == _film(frame) and _number(following) - _number(frame) <= 2:
                runs[-1].append(following)
        return [CamVidSequence(run[0].name, FILM_RATE // 2, tuple(run)) for run in runs if len(run) > 1]

    def _frames(self, split: str) -> list[CamVidFrame]:
        if split not in SPLITS:
            raise UserError(f"split '{split}' is unknown; CamVid has {', '.join(SPLITS)}")
        if self.coloured:
            pictures = [p for p in (self.root / "701_StillsRaw_full").glob("*.png") if _split(p.stem) == split]
            pairs = [(p, self.root / "LabeledApproved_full" / f"{p.stem}_L.png") for p in pictures]
        else:
            folder = self.root / split
            pairs = [(p, self.root / f"{split}annot" / p.name) for p in folder.glob("*.png")]
        if not pairs:
            raise UserError(f"data.root '{self.root}' has no pictures of the split '{split}'; unpack them there")
        missing = [labels for _, labels in pairs if not labels.is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(pairs)} pictures of '{split}' have no labels, the first is '{missing[0]}'; "
                "unpack the labels beside the pictures"
            )
        return [CamVidFrame(p.stem, p, labels, self.void, self.coloured) for p, labels in sorted(pairs)]


def _film(frame: CamVidFrame) -> str:
    return frame.name.split("_")[0]


def _number(frame: CamVidFrame) -> int:
    return _parse_number(frame.name)


def _parse_number(name: str) -> int:
    digits = name.split("_")[1].lstrip("f")
    if not digits.isdigit():
        raise UserError(f"'{name}' is not a CamVid name (film_number); remove the foreign file")
    return int(digits)


def _split(name: str) -> str:
    """The split of the 367 / 101 / 233 protocol, which follows from film and frame number."""
    film, number = name.split("_")[0], _parse_number(name)
    if film == "Seq05VD" or (film == "0001TP" and number >= 8550):
        return "test"
    return "val" if film == "0016E5" and 7959 <= number <= 8159 and number % 2 else "train"
