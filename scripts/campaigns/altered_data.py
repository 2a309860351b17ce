"""Data sets of users as they are brought: `miniatures.folder` with one thing about it that is unusual or wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

from tests.support import miniatures

Change = Callable[[Path], None]  # of a file in place


def make(name: str, root: Path) -> Path:
    """Make the data set of a name below `root`, which is its folder."""
    if name == "voc":
        return miniatures.voc(root)
    miniatures.folder(root, "colour" if name in IN_COLOUR else "index")
    DATA_SETS[name](root)
    return root


def _labels(change: Change, pattern: str = "*/labels") -> Callable[[Path], None]:
    return lambda root: [change(path) for path in sorted(root.glob(f"{pattern}/**/*.png"))] and None


def _values(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda path: cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))) and None


def _as_one_bit(path: Path) -> None:
    Image.fromarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0).save(path)


def _as_jpeg(path: Path) -> None:
    cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    path.unlink()


def _as_12_bit(root: Path) -> None:
    for path in [*root.glob("*/films/*/*.png"), *root.glob("*/pictures/*.png")]:
        cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 16)


def _with_files_of_systems(root: Path) -> None:
    for path in [*root.rglob("*.png"), *root.rglob("*.mp4")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7 resource fork")
    for folder in [path for path in root.rglob("*") if path.is_dir()]:
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "Thumbs.db").write_bytes(b"thumbs")


def _classes(**changes: object) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / "classes.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))

    return change


def _file_in_place_of(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_bytes(b"a file")

    return change


def _folder_in_place_of(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return change


def _text(name: str, text: str | bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(text if isinstance(text, bytes) else text.encode()) and None


def _moved(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / old).rename(root / new) and None


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
IN_COLOUR = ("colours_that_no_class_has", "colours_that_are_not_listed", "colours_in_jpeg")
DATA_SETS: dict[str, Callable[[Path], None]] = {
    "sound": lambda root: None,
    "masks_of_0_and_255": _labels(_values(lambda labels: np.uint8(255) * (labels % 2 > 0))),
    "masks_of_255": _labels(_values(lambda labels: np.full_like(labels, 255))),
    "masks_of_1_bit": _labels(_as_one_bit),
    "masks_in_jpeg": _labels(_as_jpeg),
    "masks_of_three_channels": _labels(_values(lambda labels: np.dstack([labels] * 3))),
    "masks_of_16_bit": _labels(_values(lambda labels: labels.astype(np.uint16))),
    "masks_of_another_size": _labels(_values(lambda labels: labels[:-8])),
    "masks_of_other_values": _labels(_values(lambda labels: labels + np.uint8(40))),
    "validation_ignored": _labels(_values(lambda labels: np.full_like(labels, 255)), "val/labels"),
    "a_class_that_never_occurs": _labels(_values(lambda labels: np.where(labels == 1, np.uint8(0), labels))),
    "colours_that_no_class_has": _classes(colours=[[1, 2, 3], [4, 5, 6], [7, 8, 9]], ignore="others"),
    "colours_that_are_not_listed": _classes(colours=[[1, 2, 3], [4, 5, 6], [7, 8, 9]], ignore=[]),
    "colours_in_jpeg": _labels(_as_jpeg),
    "images_of_12_bit": _as_12_bit,
    "files_of_systems": _with_files_of_systems,
    "labels_without_a_video": _moved("val/films/ride.mp4", "ride.mp4"),
    "a_video_of_unlisted_suffix": _moved("val/films/ride.mp4", "val/films/ride.wmv"),
    "a_label_beyond_the_video": _moved("train/labels/ride/000011.png", "train/labels/ride/000099.png"),
    "a_video_that_is_text": _text("train/films/ride.mp4", "not a video\n"),
    "an_empty_video": _text("train/films/ride.mp4", b""),
    "an_empty_image": _text("train/films/walk/shot_003.png", b""),
    "an_empty_mask": _text("train/labels/walk/shot_006.png", b""),
    "a_mask_that_is_a_folder": _folder_in_place_of("train/labels/walk/shot_006.png"),
    "no_validation": lambda root: shutil.rmtree(root / "val"),
    "no_classes": lambda root: (root / "classes.yaml").unlink(),
    "classes_that_are_a_folder": _folder_in_place_of("classes.yaml"),
    "classes_that_are_no_yaml": _text("classes.yaml", "names: [a, b\ncolours: {"),
    "classes_that_are_binary": _text("classes.yaml", bytes(range(256))),
    "classes_that_unfold": _text("classes.yaml", BOMB),
    "classes_without_colours": _text("classes.yaml", "names: [floor, ball, wall]\n"),
    "classes_of_fewer_colours": _classes(colours=[[0, 0, 0]]),
    "three_hundred_classes": _classes(
        names=[f"c{i}" for i in range(300)], colours=[[i % 256, i // 256, 0] for i in range(300)]
    ),
    "classes_twice": _classes(names=["floor", "floor", "wall"]),
    "labels_that_are_a_file": _file_in_place_of("val/labels"),
}
NAMES = ("voc", *DATA_SETS)
