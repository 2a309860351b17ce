"""Checkpoint files that cannot be written or read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from src.errors import UserError
from src.training.callbacks.checkpoint import LAST, PREVIOUS, LastCheckpoint, WholeFileIO, newest


def written(folder: Path, *steps: int) -> WholeFileIO:
    files = WholeFileIO()
    for step in steps:
        files.save_checkpoint({"global_step": step, "card": {}, "w": torch.full((1000,), float(step))}, folder / LAST)
    return files


def test_a_torn_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    written(tmp_path, 5, 10)
    assert newest(tmp_path)[:2] == (tmp_path / LAST, 10)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2])
    assert newest(tmp_path)[:2] == (tmp_path / PREVIOUS, 5)
    assert "cannot be read" in str(newest(tmp_path).damage)
    written(tmp_path, 6)  # a new process must not keep the torn file as the one to fall back to
    assert newest(tmp_path)[:2] == (tmp_path / LAST, 6)
    (tmp_path / LAST).write_bytes(b"")
    assert newest(tmp_path)[:2] == (tmp_path / PREVIOUS, 5)
    (tmp_path / PREVIOUS).write_bytes(b"torn")
    with pytest.raises(UserError, match="no readable checkpoint in"):
        newest(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path: Path) -> None:
    files = written(tmp_path, 5)
    (tmp_path / f".{LAST}.unfinished").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"last\.ckpt' cannot be written \(No space left on device\); .*unharmed"):
        files.save_checkpoint({"global_step": 6, "card": {}}, tmp_path / LAST)
    assert newest(tmp_path)[:2] == (tmp_path / LAST, 5)
    assert [path.name for path in tmp_path.iterdir()] == [LAST], "nothing unfinished is left behind"


def test_a_read_only_folder_leaves_the_checkpoint_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written(tmp_path, 5)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", refuse)  # tests may run as root, whom permissions do not stop
    with pytest.raises(UserError, match="Read-only file system"):
        files.save_checkpoint({"global_step": 6, "card": {}}, tmp_path / LAST)
    monkeypatch.undo()
    assert newest(tmp_path)[:2] == (tmp_path / LAST, 5)


def test_steps_between_checkpoints_are_checked() -> None:
    with pytest.raises(UserError, match="every_n_steps=0"):
        LastCheckpoint(0)


def test_a_checkpoint_holds_no_absolute_path_and_follows_its_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    state = {"dirpath": str(old), "best_k_models": {str(old / "best.ckpt"): torch.ones(())}, "other": "/elsewhere"}
    WholeFileIO().save_checkpoint({"global_step": 1, "card": {}, "callbacks": {"best": state}}, old / LAST)
    assert str(tmp_path).encode() not in (old / LAST).read_bytes()
    old.rename(new)
    found = WholeFileIO().load_checkpoint(new / LAST)["callbacks"]["best"]
    assert (found["dirpath"], list(found["best_k_models"]), found["other"]) == (
        str(new),
        [str(new / "best.ckpt")],
        "/elsewhere",
    )


def test_a_checkpoint_without_a_step_is_not_resumed(tmp_path: Path) -> None:
    WholeFileIO().save_checkpoint({"global_step": "7", "card": {}}, tmp_path / LAST)
    with pytest.raises(UserError, match="holds no training to resume"):
        newest(tmp_path)
