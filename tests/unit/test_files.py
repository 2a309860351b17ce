"""Atomic writes: complete or not there, and nothing left behind."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from src.files import atomic_write, write_json


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_appears_at_the_end(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path, sync=sync) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_interruption_keeps_the_file_that_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted(path: Path) -> None:
        with atomic_write(path, backup=path.with_name("backup")) as temporary:
            temporary.write_text("half")
            raise error

    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        interrupted(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_that_was_there_becomes_the_backup(tmp_path: Path) -> None:
    path, backup = tmp_path / "a.txt", tmp_path / "b.txt"
    for text in ("1", "2", "3"):
        with atomic_write(path, backup=backup) as temporary:
            temporary.write_text(text)
    assert (path.read_text(), backup.read_text()) == ("3", "2")


def test_what_a_killed_process_left_is_overwritten_where_the_temporary_name_is_fixed(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.unfinished").write_text("torn")
    with atomic_write(tmp_path / "a.txt", unique=False) as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_json_makes_its_folder(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"a": [1, None]})
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"a": [1, None]}


def test_json_is_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"best": -math.inf, "iou": [math.nan, 0.5], "steps": 3})
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content == {"best": None, "iou": [None, 0.5], "steps": 3}
