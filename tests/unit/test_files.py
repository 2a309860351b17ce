"""Atomic writes: complete or not there, and nothing left behind."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from src.errors import UserError
from src.files import atomic_write, read_yaml, write_json


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


BOMB = "a: &a0 [x, x]\n" + "".join(f"a{i}: &a{i + 1} [*a{i}, *a{i}, *a{i}, *a{i}]\n" for i in range(40))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "more than 50000 values"),
        ("a: " + "[" * 100_000, "50 levels"),
        ("a: &a [*a, *a]", "more than 50000 values"),
        ("- x\n" * 60_000, "more than 50000 values"),
        ("#" * (5 << 20), "more than 4 MB"),
        ("a: [", "expected"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: " + "9" * 5000, "4300 digits"),
        ("a: \x01", "special characters"),
    ],
)
def test_yaml_that_unfolds_without_bound_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"a\.yaml' cannot be read \(.*{reason}") as refusal:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(refusal.value)


def test_yaml_with_aliases_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {b: [1, 2]}\nc: *a\nd: {<<: *a, e: x}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}, "d": {"b": [1, 2], "e": "x"}}


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_write(tmp_path / "a.json") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("a")

    with pytest.raises(OSError, match="No space left") as ended:
        write()
    assert ended.value.filename == str(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
