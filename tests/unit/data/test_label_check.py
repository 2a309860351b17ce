"""What the label maps of a split add up to, and maps of few or many bits, or of lossy compression."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data import label_check
from src.data.datasets.folder import Folder
from src.data.label_check import check_labels
from src.data.labels import ClassSet, ColourCoding, IndexCoding, LabelCoding
from src.errors import UserError
from tests.support import miniatures

CODING = IndexCoding(((0, 0), (1, 1)), (255,))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    root = miniatures.folder(tmp_path_factory.mktemp("folder"))  # floor, ball, wall
    return Folder(str(root), 25, [0.4] * 3, [0.3] * 3, "stop")


def maps(*values: list[int]) -> list:
    return [lambda v=v: np.array([v], np.uint8) for v in values]


def test_good_labels_need_no_word(source: Folder, caplog: pytest.LogCaptureFixture) -> None:
    readers = [image.read_labels for image in source.images("train")]
    readers += [lambda v=v, n=n: v.read_labels(n) for v in source.videos("train") for n in v.labelled_frames()]
    assert check_labels(source, "train", readers[:2], False) == {miniatures.SIZE, miniatures.OTHER_SIZE}
    assert check_labels(source, "train", maps([0, 1, 2]), False) == {(1, 3)}
    check_labels(source, "train", [], False)
    assert len(readers) == 5
    assert [r.getMessage() for r in caplog.records if "no pixel" in r.getMessage()] == []


def test_an_absent_class_and_ignored_pixels_are_named(source: Folder, caplog: pytest.LogCaptureFixture) -> None:
    check_labels(source, "train", maps([0, 0, 0, 255], [2, 2, 255, 255]), False)
    assert "no pixel is of class 'ball' and 38 % of the pixels are ignored in the 2 label maps" in caplog.text
    caplog.clear()
    check_labels(source, "val", maps([0, 1, 2, 255], [255] * 4), False)
    assert "62 % of the pixels are ignored in the 2 label maps of 'val'; if that is not meant" in caplog.text
    assert "no pixel" not in caplog.text


def test_nothing_labelled_is_rejected_only_if_true_of_all(source: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"nothing is labelled in the 2 label maps of 'val'.* classes\.yaml"):
        check_labels(source, "val", maps([255, 255], [255]), False)
    monkeypatch.setattr(label_check, "SAMPLE", 4)
    with pytest.raises(UserError, match="nothing is labelled in the 40 label maps"):
        check_labels(source, "val", maps(*[[255]] * 40), False)
    sparse = [[255]] * 40
    sparse[11] = [0, 1, 2]
    check_labels(source, "val", maps(*sparse), False)


def test_a_large_split_is_sampled(source: Folder, caplog: pytest.LogCaptureFixture) -> None:
    reads = []

    def reader(number: int) -> np.ndarray:
        reads.append(number)
        return np.zeros((2, 2), np.uint8)

    check_labels(source, "train", [lambda n=n: reader(n) for n in range(100_000)], False)
    assert len(reads) == label_check.SAMPLE
    assert max(reads) > 98_000
    assert "no pixel is of class 'ball', 'wall' in 100 of 100000 label maps of 'train'" in caplog.text


def test_one_class_of_several_is_nothing_to_learn(
    source: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        UserError, match=r"every labelled pixel in the 2 label maps of 'train' is of class 'ball'.*yaml"
    ):
        check_labels(source, "train", maps([1, 255], [1]), False, trained=True)
    check_labels(source, "val", maps([1, 255], [1]), False)
    monkeypatch.setattr(label_check, "SAMPLE", 4)
    check_labels(source, "train", maps(*[[0]] * 30, [0, 1], *[[0]] * 9), False, trained=True)
    assert "no pixel is of class 'wall'" in caplog.text
    monkeypatch.setattr(source, "classes", ClassSet(("floor",), ((0, 0, 0),)))
    check_labels(source, "train", maps([0, 255]), False, trained=True)


def test_damaged_label_maps_are_left_out_if_asked(source: Folder) -> None:
    def damaged() -> np.ndarray:
        raise UserError("torn")

    with pytest.raises(UserError, match="torn"):
        check_labels(source, "train", [damaged, *maps([0, 1, 2])], False)
    assert check_labels(source, "train", [damaged, *maps([0, 1, 2])], True) == {(1, 3)}
    with pytest.raises(UserError, match="none of the 2 label maps of 'train' can be read, the last one: torn"):
        check_labels(source, "train", [damaged, damaged], True)


def greyscale_png(values: np.ndarray, bits: int) -> bytes:
    """Encode a PNG of few bits, which neither OpenCV nor Pillow write; rows fill whole bytes."""
    rows = ["".join(format(value, f"0{bits}b") for value in row) for row in values]
    data = b"".join(b"\0" + int(row, 2).to_bytes(len(row) // 8) for row in rows)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    chunks = [len(d).to_bytes(4) + kind + d + zlib.crc32(kind + d).to_bytes(4) for kind, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_one_bit_is_0_and_1(suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (5, 11))
    Image.fromarray(values.astype(bool)).save(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(CODING.read(tmp_path / f"mask.{suffix}"), values)


@pytest.mark.parametrize("bits", [2, 4])
def test_greyscale_of_few_bits_keeps_its_values(bits: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (5, 8))
    (tmp_path / "mask.png").write_bytes(greyscale_png(values, bits))
    assert Image.open(tmp_path / "mask.png").mode == "L"
    np.testing.assert_array_equal(CODING.read(tmp_path / "mask.png"), values)


@pytest.mark.parametrize("coding", [CODING, ColourCoding((((0, 0, 0), 0),), None)], ids=["index", "colour"])
@pytest.mark.parametrize(("name", "options"), [("a.jpg", {}), ("a.webp", {}), ("a.png", {"format": "jpeg"})])
def test_lossy_labels_are_rejected(coding: LabelCoding, name: str, options: dict, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / name, **options)
    with pytest.raises(UserError, match=rf"{name}' is a file of lossy compression .* as PNG"):
        coding.read(tmp_path / name)


def test_labels_of_lossless_webp_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (9, 8, 7)).save(tmp_path / "a.webp", lossless=True)
    assert not ColourCoding((((9, 8, 7), 0),), ()).read(tmp_path / "a.webp").any()


def test_indices_in_16_bits_are_what_they_are(tmp_path: Path) -> None:
    values = np.array([[0, 1, 255]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(CODING.read(tmp_path / "a.png"), values)
    Image.fromarray(values * 257).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png' has values up to 65535; give indices of 8 bits, 0 to 255"):
        CODING.read(tmp_path / "a.png")
