"""Splits: joined ones, unknown ones, and those of a data set from outside the repository."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from src.commands.prepare import prepare_data_set
from src.data.clips.recipes import ClipsFromVideos
from src.data.datasets.base import images_of, split_names, videos_of
from src.data.datasets.camvid import CamVid
from src.data.datasets.folder import Folder
from src.data.module import ClipDataModule
from src.data.street.dataset import Street
from src.errors import UserError
from src.instantiate import instantiate
from tests.support import miniatures

STATISTICS = ([0.4] * 3, [0.3] * 3)


def street() -> Street:
    return Street({"train": 2, "val": 1}, 6, 32, 48, 15)


def test_joined_splits_are_one() -> None:
    joined = [video.name for video in videos_of(street(), "train+val")]
    assert joined == [video.name for split in ("train", "val") for video in street().videos(split)]
    assert len(ClipsFromVideos(1).jobs(street(), "val+train", 4)) == 3


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("test", r"split 'test' is unknown, the data set has train, val; give one, or several joined by \+"),
        ("train+", "split '' is unknown"),
        ("val+val", "names a split twice"),
    ],
)
def test_a_wrong_split_is_refused(split: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_names(street(), split)


def test_camvid_has_the_splits_of_its_release(tmp_path: Path) -> None:
    official = CamVid(str(miniatures.camvid_stills(tmp_path / "official")), False, False, 30, *STATISTICS, "stop")
    assert len(images_of(official, "train+val")) == 4 + 2
    assert [image.name for image in images_of(official, "test")] == [
        "0001TP_008550",
        "Seq05VD_f00000",
        "Seq05VD_f00030",
    ]
    (tmp_path / "copy" / "train").mkdir(parents=True)
    copy = CamVid(str(tmp_path / "copy"), False, False, 30, *STATISTICS, "stop")
    with pytest.raises(UserError, match="has train; give"):
        images_of(copy, "test")


def test_a_folder_has_the_splits_that_lie_in_it(tmp_path: Path) -> None:
    source = Folder(str(miniatures.folder(tmp_path)), 25, *STATISTICS, "stop")
    assert list(source.splits) == ["train", "val"]
    assert [image.name for image in images_of(source, "train+val")] == ["one", "two", "one", "two"]


YARD = """
from pathlib import Path

from src.data.datasets.base import LabelledDataset
from src.data.datasets.files import ImageFile
from src.data.images import IMAGENET
from src.data.labels import ClassSet, IndexCoding


class Yard(LabelledDataset):
    splits = ("train", "val", "night")
    classes = ClassSet(("floor", "ball", "wall"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)))
    normalisation = IMAGENET

    def __init__(self, root):
        self.root = Path(root)

    def images(self, split):
        coding = IndexCoding(((0, 0), (1, 1), (2, 2)), (255,))
        found = sorted((self.root / split).glob("*.png"))
        return [ImageFile(path.stem, path, self.root / "masks" / path.name, coding) for path in found]
"""


def test_the_data_follow_their_own_seed(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    root = miniatures.voc(tmp_path / "voc")

    def keys(*seeds: str) -> list[str]:
        config = composed("train", tmp_path, "data=voc2012", f"data.root={root}", "video.gop=3", *seeds)
        module: ClipDataModule = instantiate(config.data.module)
        return [str(job.fingerprint()) for split in ("train", "val") for job in module.jobs(split)]

    assert keys("seed=0") == keys("seed=1") != keys("data.seed=1")


YARD_YAML = """
defaults:
  - clips@module.clips: stills
  - clips@module.val_clips: stills
  - loading
  - _self_
root: ???
num_classes: 3
crop: [32, 32]
fps: 15
source:
  _target_: mylab_yard.Yard
  root: ${data.root}
"""


def test_a_data_set_from_outside_is_prepared_and_loaded(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "yard"
    for number, split in enumerate(("train", "val", "night")):
        miniatures.write(root / split / f"{split}.png", miniatures.moving(number))
        miniatures.write(root / "masks" / f"{split}.png", miniatures.blocks([0, 1, 2], number))
    (tmp_path / "mylab_yard.py").write_text(YARD)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "yard.yaml").write_text(YARD_YAML)
    monkeypatch.syspath_prepend(tmp_path)
    given = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "data=yard", f"data.root={root}", "video.gop=3"]
    given += ["data.train_split=train+night", "data.workers=0", f"paths.cache={tmp_path / 'cache'}"]
    config = composed("prepare", tmp_path, *given)
    prepare_data_set(config)
    assert len(list((tmp_path / "cache").rglob("*.mp4"))) == 3 * 3, "three variants of each image"
    given_here = {"view": "pair", "batch_size": 1, "val_distances": [2], "val_stride": 1}
    module: ClipDataModule = instantiate(config.data.module, **given_here)
    names = {batch.name[0].split(":")[0][:5] for batch in module.train_dataloader()}
    assert names == {"train", "night"}
    assert {batch.name[0][:3] for batch in module.val_dataloader()} == {"val"}
    del sys.modules["mylab_yard"]
