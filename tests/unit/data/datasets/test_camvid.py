"""Both CamVid layouts, on miniatures of the archives, and on the real copy where it is."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.datasets.base import images_of
from src.data.datasets.camvid import NAMES, PALETTE, CamVid
from src.errors import UserError


def camvid(root: Path | None, void: bool = False, films: bool = False) -> CamVid:
    return CamVid(None if root is None else str(root), void, films, 30, [0.4] * 3, [0.3] * 3, "stop")


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)


def index_copy(root: Path) -> Path:
    """The 480x360 layout with three train stills and a film of five val frames."""
    rng = np.random.default_rng(0)
    names = {"train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"]}
    names["val"] = [f"0016E5_{n:05d}" for n in range(7959, 7969, 2)]
    for split, stems in names.items():
        for stem in stems:
            write(root / split / f"{stem}.png", rng.integers(0, 256, (36, 48, 3), dtype=np.uint8))
            write(root / f"{split}annot" / f"{stem}.png", rng.integers(0, 12, (36, 48), dtype=np.uint8))
    return root


def official(root: Path) -> Path:
    """The official layout: colour labels, all films in one folder, splits by name."""
    rng = np.random.default_rng(0)
    colours = np.array([*PALETTE, (0, 0, 0), (128, 0, 64)], np.uint8)
    for stem in (
        "0001TP_006690",
        "0001TP_008550",
        "Seq05VD_f00000",
        "0016E5_07959",
        "0016E5_07961",
        "0006R0_f00930",
    ):
        write(root / "701_StillsRaw_full" / f"{stem}.png", rng.integers(0, 256, (36, 48, 3), dtype=np.uint8))
        labels = colours[rng.integers(0, 13, (36, 48))]
        write(root / "LabeledApproved_full" / f"{stem}_L.png", labels)
    return root


def test_index_layout(tmp_path: Path) -> None:
    source = camvid(index_copy(tmp_path), False)
    stills = source.images("train")
    assert [s.name for s in stills] == ["0001TP_006690", "0006R0_f00930", "0016E5_00390"]
    picture, labels = stills[0].read()
    raw = cv2.imread(str(tmp_path / "trainannot" / "0001TP_006690.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (36, 48, 3)
    np.testing.assert_array_equal(labels, np.where(raw == 11, 255, raw))
    (film,) = source.videos("val")
    assert len(film) == 5
    assert film.fps == 15
    assert source.videos("train") == []


def test_void_as_a_class(tmp_path: Path) -> None:
    source = camvid(index_copy(tmp_path), True)
    raw = cv2.imread(str(tmp_path / "trainannot" / "0001TP_006690.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(source.images("train")[0].read()[1], raw)
    assert source.classes.names[-1] == "void"


def test_official_layout(tmp_path: Path) -> None:
    official(tmp_path)
    eleven, twelve = (camvid(tmp_path, void) for void in (False, True))
    assert [s.name for s in eleven.images("train")] == ["0001TP_006690", "0006R0_f00930"]
    assert [s.name for s in eleven.images("val")] == ["0016E5_07959", "0016E5_07961"]
    assert [s.name for s in eleven.images("test")] == ["0001TP_008550", "Seq05VD_f00000"]
    coloured = cv2.imread(str(tmp_path / "LabeledApproved_full" / "0001TP_006690_L.png"))[..., ::-1]
    labels, with_void = eleven.images("train")[0].read()[1], twelve.images("train")[0].read()[1]
    for index, colour in enumerate(PALETTE):
        assert ((coloured == colour).all(-1) == (labels == index)).all()
    assert ((coloured == 0).all(-1) == (with_void == 11)).all()
    assert (labels[(coloured == (128, 0, 64)).all(-1)] == 255).all()
    np.testing.assert_array_equal(eleven.classes.colour(labels)[labels < 11], coloured[labels < 11])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "trainannot" / "0016E5_00390.png").unlink(), "have no labels"),
        (lambda r: (r / "train" / "0016E5_00390.png").write_bytes(b""), "cannot be decoded"),
        (lambda r: write(r / "trainannot" / "0016E5_00390.png", np.full((36, 48), 77, np.uint8)), "77"),
        (lambda r: write(r / "trainannot" / "0016E5_00390.png", np.zeros((20, 48), np.uint8)), "48x20"),
        (lambda r: write(r / "trainannot" / "0016E5_00390.png", np.zeros((36, 48, 3), np.uint8)), "8 bits"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, damage, message: str) -> None:
    damage(index_copy(tmp_path))
    with pytest.raises(UserError, match=message):
        camvid(tmp_path, False).images("train")[2].read()


def test_wrong_root_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CAMVID_ROOT"):
        camvid(None)
    with pytest.raises(UserError, match="701_StillsRaw_full"):
        camvid(tmp_path, False)
    with pytest.raises(UserError, match="the data set has train, val; give"):
        images_of(camvid(index_copy(tmp_path), False), "training")


def test_real_copy(camvid_root: Path) -> None:
    source = camvid(camvid_root, False)
    assert (len(source.images("train")), len(source.images("val"))) == (367, 101)
    (film,) = source.videos("val")
    assert len(film) == 101
    _, labels = source.images("train")[0].read()
    assert set(np.unique(labels)) <= {*range(len(NAMES)), 255}
