"""Miniatures of the archives in their official trees: names, colours, value ranges and codings, pictures of noise."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import yaml
from PIL import Image

from src.data.datasets.camvid import PALETTE
from src.data.datasets.voc import voc_palette
from tests.support.videos import texture

SIZE = (48, 64)  # height, width
OTHER_SIZE = (40, 80)  # x265 corrupts memory at widths below 64
COLOURS = [[0, 0, 0], [255, 0, 0], [0, 128, 255]]


def moving(index: int, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Frame of an endless film: a texture that wanders to the right by a pixel a frame."""
    return np.roll(texture(*size, seed), index, axis=1)


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)


def blocks(values: list[int], seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Labels in blocks of 8x8 that hold all the values."""
    small = np.resize(np.random.default_rng(seed).permutation(values), (size[0] // 8, size[1] // 8))
    return np.kron(small.astype(np.uint8), np.ones((8, 8), np.uint8))


def snippet(root: Path, split: str, city: str, sequence: int, frame: int, seed: int, size: tuple[int, int]) -> None:
    """30 frames of Cityscapes with the 20th, number `frame`, labelled."""
    base = f"{city}_{sequence:06d}"
    for number in range(frame - 19, frame + 11):
        folder = root / "leftImg8bit_sequence" / split / city
        write(folder / f"{base}_{number:06d}_leftImg8bit.png", moving(number, seed, size))
    name = f"{base}_{frame:06d}"
    write(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", moving(frame, seed, size))
    labels, annotation = blocks(list(range(34)), seed, size), root / "gtFine" / split / city
    write(annotation / f"{name}_gtFine_labelIds.png", labels)
    write(annotation / f"{name}_gtFine_color.png", np.dstack([labels * 7] * 3))
    (annotation / f"{name}_gtFine_instanceIds.png").write_bytes(b"not read")
    (annotation / f"{name}_gtFine_polygons.json").write_text("{}")


def cityscapes_of_two_sizes(root: Path) -> Path:
    """`cityscapes` with a second snippet for validation, of another size, and one of test, whose labels are blank."""
    snippet(root, "val", "lindau", 0, 19, 3, OTHER_SIZE)
    snippet(root, "test", "berlin", 0, 19, 4, OTHER_SIZE)
    write(root / "gtFine/test/berlin/berlin_000000_000019_gtFine_labelIds.png", np.zeros(OTHER_SIZE, np.uint8))
    return cityscapes(root)


def cityscapes(root: Path, size: tuple[int, int] = SIZE) -> Path:
    """Two training snippets and one for validation, each of 30 frames with the 20th labelled."""
    for seed, (split, city, sequence, frame) in enumerate(
        [
            ("train", "aachen", 0, 19),
            ("train", "hamburg", 0, 629),
            ("val", "frankfurt", 1, 7973),
        ]
    ):
        snippet(root, split, city, sequence, frame, seed, size)
    return root


CAMVID_STILLS = {
    "0001TP_006690": 30, "0001TP_006720": 60, "0001TP_008550": 1890, "0006R0_f00930": 931, "Seq05VD_f00000": 1,
    "Seq05VD_f00030": 31, "0016E5_00390": 391, "0016E5_07959": 7960, "0016E5_07961": 7962,
}  # fmt: skip
CAMVID_FILMS = {
    "01TP_extract.avi": ("mjpeg", "0001TP"), "0005VD.MXF": ("mpeg2video", "Seq05VD"),
    "0006R0.MXF": ("mpeg2video", "0006R0"), "0016E5.MXF": ("mpeg2video", "0016E5"),
}  # fmt: skip


def camvid_stills(root: Path) -> Path:
    """The official release: stills in one folder, labels of 32 colours beside it; one video is of another size."""
    colours = np.array([*PALETTE, (0, 0, 0), (128, 0, 64)], np.uint8)
    for stem, index in CAMVID_STILLS.items():
        size = OTHER_SIZE if stem.startswith(WIDE) else SIZE
        write(root / "701_StillsRaw_full" / f"{stem}.png", moving(index, size=size))
        write(root / "LabeledApproved_full" / f"{stem}_L.png", colours[blocks(list(range(13)), index, size)])
    return root


WIDE = "Seq05VD"


def camvid_film(path: Path, codec: str, last: int, skipped: int = 0, size: tuple[int, int] = SIZE) -> None:
    """The film that the stills are from, up to frame `last`; `skipped` frames are missing at its start."""
    cycle = [av.VideoFrame.from_ndarray(moving(i, size=size), "rgb24") for i in range(size[1])]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options={"qscale": "2", "g": "6", "bf": "0"})
        stream.height, stream.width = size
        stream.pix_fmt, stream.thread_count = "yuvj420p" if codec == "mjpeg" else "yuv420p", 1
        for number in range(last + 4 - skipped):
            frame = cycle[(number + skipped) % len(cycle)].reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def camvid_with_films(root: Path) -> Path:
    """The official release with its raw films."""
    camvid_stills(root)
    for name, (codec, prefix) in CAMVID_FILMS.items():
        last = max(index for stem, index in CAMVID_STILLS.items() if stem.startswith(prefix))
        camvid_film(root / name, codec, last, size=OTHER_SIZE if prefix == WIDE else SIZE)
    return root


def voc(root: Path) -> Path:
    """Stills of several sizes, some odd, with palette labels whose objects have a border of 255."""
    base = root / "VOCdevkit" / "VOC2012"
    palette = [value for colour in voc_palette(256) for value in colour]
    lists = {"train": ["2007_000032", "2007_000039", "2007_000063"], "val": ["2007_000033", "2011_003276"]}
    for seed, name in enumerate(lists["train"] + lists["val"]):
        size = (40 + 9 * seed, 56)
        labels = np.zeros(size, np.uint8)
        labels[8:32, 8:40] = 255
        labels[10:30, 10:38] = 1 + seed % 20
        picture = Image.fromarray(labels, "P")
        picture.putpalette(palette)
        (base / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        picture.save(base / "SegmentationClass" / f"{name}.png")
        write(base / "JPEGImages" / f"{name}.jpg", texture(*size, seed))
    write(base / "JPEGImages" / "2012_004331.jpg", texture(40, 56))  # most pictures are not segmented
    folder = base / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for split, names in {**lists, "trainval": lists["train"] + lists["val"]}.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


VSPW_VIDEOS = {"train": {"1_one": SIZE, "12_two": OTHER_SIZE}, "val": {"100_three": SIZE, "9_four": OTHER_SIZE}}


def vspw(root: Path, frames: int = 9) -> Path:
    """Videos of two sizes, all frames labelled with values of 0..124 and 255; those of test have no labels."""
    table = {"others": "0", **{f"class_{value}": str(value) for value in range(1, 125)}}
    root.mkdir(parents=True, exist_ok=True)
    (root / "label_num_dic_final.json").write_text(json.dumps(table))
    for split, videos in VSPW_VIDEOS.items():
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in videos))
        for seed, (name, size) in enumerate(videos.items()):
            labels = blocks([0, 1, 60, 124, 255], seed, size)
            for number in range(frames):
                write(root / "data" / name / "origin" / f"{number:08d}.jpg", moving(number, seed, size))
                write(root / "data" / name / "mask" / f"{number:08d}.png", labels)
    (root / "test.txt").write_text("2_test\n")
    write(root / "data" / "2_test" / "origin" / "00000000.jpg", moving(0))
    return root


def nyudv2(root: Path) -> Path:
    """Images, one of another size, with the values 0..40; lists with one column, or with more."""
    lists = {"train": ["0", "2", "1448"], "test": ["1", "10"]}
    for seed, name in enumerate(lists["train"] + lists["test"]):
        size = OTHER_SIZE if name == "10" else SIZE
        write(root / "RGB" / f"{name}.jpg", texture(*size, seed))
        write(root / "Label" / f"{name}.png", blocks(list(range(41)), seed, size))
    (root / "train.txt").write_text("".join(f"RGB/{name}.jpg\n" for name in lists["train"]))
    (root / "test.txt").write_text("".join(f"RGB/{name}.jpg Label/{name}.png\n" for name in lists["test"]))
    return root


def folder(root: Path, labels: str = "index") -> Path:
    """Two films, one as a file with B frames and one as pictures, with few labels; two stills; each of two sizes."""
    root.mkdir(parents=True, exist_ok=True)
    ignore = [255] if labels == "index" else [[9, 9, 9]]
    content = {"names": ["floor", "ball", "wall"], "colours": COLOURS, "labels": labels, "ignore": ignore}
    (root / "classes.yaml").write_text(yaml.safe_dump(content))
    table = np.zeros((256, 3), np.uint8)
    table[[0, 1, 2, 255]] = [*COLOURS, [9, 9, 9]]
    for split in ("train", "val"):
        (root / split / "films").mkdir(parents=True)
        _film(root / split / "films" / "ride.mp4")
        for number in range(12):
            write(root / split / "films" / "walk" / f"shot_{number:03d}.png", moving(number, 1, OTHER_SIZE))
        for name in ("ride/000007", "ride/000011", "walk/shot_006", "one", "two"):
            size = OTHER_SIZE if name in ("walk/shot_006", "two") else SIZE
            values = blocks([0, 1, 2, 255], len(name), size)
            write(root / split / "labels" / f"{name}.png", values if labels == "index" else table[values])
        for name, size in (("one.png", SIZE), ("two.jpg", OTHER_SIZE)):
            write(root / split / "pictures" / name, moving(3, 2, size))
    return root


def _film(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "x264-params": "keyint=5:bframes=2"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(14):
            frame = av.VideoFrame.from_ndarray(moving(number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def with_hidden_files(root: Path, copy: Path) -> Path:
    """A copy of a data set as archives of Mac OS X unpack."""
    shutil.copytree(root, copy, dirs_exist_ok=True)
    for path in [path for path in copy.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
    return copy
