"""Pretraining on pictures in class folders, and the way of its weights into DFANet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from src.checkpoints.load import load_checkpoint
from src.commands.prepare import prepare_data_set
from src.commands.train import train
from src.data.datasets.class_folders import ClassFolderModule, ClassFolders
from src.data.worker import start_worker
from src.errors import UserError
from src.models.dfanet.net import DFANet
from tests.support import miniatures

NAMES = ("bird", "cat", "dog")
MEAN, STD = [0.5] * 3, [0.25] * 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of pictures of unequal sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in NAMES:
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                size = (*rng.integers(40, 90, 2), 3)
                cv2.imwrite(str(folder / f"{number}.jpg"), rng.integers(0, 256, size, np.uint8))
    return tmp_path / "pictures"


def module(root: Path, workers: int = 0, on_damage: str = "stop") -> ClassFolderModule:
    return ClassFolderModule(ClassFolders(str(root), MEAN, STD), 32, 36, 4, workers, 3, on_damage)


def test_loader_processes_start_like_those_of_clips(root: Path) -> None:
    assert module(root, workers=1).val_dataloader().worker_init_fn is start_worker


def test_damaged_images_are_named_or_left_out(root: Path) -> None:
    for name in ("._0.jpg", ".DS_Store"):
        (root / "val" / "bird" / name).write_bytes(b"Mac OS X")
    whole = root / "val" / "cat" / "0.jpg"
    whole.write_bytes(whole.read_bytes()[:100])
    with pytest.raises(UserError, match=r"image '.*val/cat/0\.jpg' cannot be decoded"):
        list(module(root).val_dataloader())
    labels = torch.cat([labels for _, labels in module(root, on_damage="skip").val_dataloader()])
    assert labels.tolist() == [0, 0, -1, 1, 2, 2]
    with pytest.raises(UserError, match="on_damage=sip is not one of"):
        module(root, on_damage="sip")


def test_classes_are_the_folders_and_batches_their_pictures(root: Path) -> None:
    data = module(root)
    assert data.source.classes.names == NAMES
    batches = list(data.val_dataloader())
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 0, 1, 1, 2, 2]
    assert all(pictures.shape[1:] == (3, 32, 32) for pictures, _ in batches)


def test_draws_follow_the_seed_whatever_the_workers(root: Path) -> None:
    torch.manual_seed(1)
    first = list(module(root).train_dataloader())
    torch.manual_seed(2)
    again = list(module(root, workers=2).train_dataloader())
    assert len(first) == 3
    for (pictures, labels), (same, same_labels) in zip(first, again, strict=True):
        assert torch.equal(pictures, same)
        assert torch.equal(labels, same_labels)


def test_trees_that_are_not_whole_are_refused(root: Path) -> None:
    (root / "val" / "cat").rename(root / "val" / "cow")
    with pytest.raises(UserError, match="other classes than train"):
        module(root).val_dataloader()
    with pytest.raises(UserError, match=r"train/CLASS/NAME\.jpg"):
        ClassFolders(str(root / "train" / "dog"), MEAN, STD)
    with pytest.raises(UserError, match=r"data\.root is not set"):
        ClassFolders(None, MEAN, STD)


def test_folders_of_another_data_set_are_no_classes(tmp_path: Path) -> None:
    root = miniatures.folder(tmp_path / "root")
    with pytest.raises(UserError, match=r"'.*train/labels' holds label maps .*give data=folder"):
        ClassFolders(str(root), MEAN, STD)
    shutil.rmtree(root / "train" / "labels")
    with pytest.raises(UserError, match=r"'.*train/films/walk' is below the folder of a class"):
        ClassFolders(str(root), MEAN, STD)


def test_roots_that_are_files_and_single_classes_are_refused(root: Path, tmp_path: Path) -> None:
    for name in NAMES[1:]:
        shutil.rmtree(root / "train" / name)
    with pytest.raises(UserError, match="has one class, 'bird'"):
        ClassFolders(str(root), MEAN, STD)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"train/CLASS/NAME\.jpg"):
        ClassFolders(str(tmp_path / "file"), MEAN, STD)


@pytest.mark.train
def test_a_pretrained_backbone_starts_dfanet(root: Path, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = ["experiment=dfanet_imagenet", f"data.root={root}", "data.module.size=32"]
    given += ["data.batch_size=4", "data.workers=0", "model.epochs=1", "trainer.precision=32-true"]
    train(composed("train", run, *given))
    done = json.loads((run / "classifier" / "done.json").read_text())
    assert 0 <= done["val/top1"] <= done["val/top5"] <= 1
    best = run / "classifier" / "checkpoints" / "best.ckpt"
    state = torch.load(best, weights_only=True)["state_dict"]
    net = DFANet(11, "a", weights=str(best))
    for encoder in (net.first.encoder, *net.later):
        assert torch.equal(encoder.attention.fc.weight, state["net.encoder.attention.fc.weight"])
    with pytest.raises(UserError, match="give those of the same Xception"):
        DFANet(11, "b", weights=str(best))
    with pytest.raises(UserError, match="Xception labels no pixels"):
        load_checkpoint(best)


def test_more_classes_than_outputs_are_refused(root: Path, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    given = [f"data.root={root}", "model.phases.classifier.module.outputs=2"]
    with pytest.raises(UserError, match="3 classes, the network 2 outputs"):
        train(composed("train", tmp_path / "run", "experiment=dfanet_imagenet", *given))


def test_there_is_nothing_to_prepare(composed: Callable[..., DictConfig], root: Path, tmp_path: Path) -> None:
    config = composed("prepare", tmp_path, "data=class_folders", f"data.root={root}")
    with pytest.raises(UserError, match=r"data=class_folders needs no preparation: .*; give another data set"):
        prepare_data_set(config)
