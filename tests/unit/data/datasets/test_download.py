"""Downloading from a server that breaks off, that cannot resume, or that sends something else."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.data.datasets import download
from src.data.datasets.download import Archive, fetch
from src.data.datasets.voc import Voc
from src.errors import UserError
from tests.support import miniatures
from tests.support.file_server import FileServer, serving


def archive_of(server: FileServer) -> Archive:
    return Archive(server.address("VOC.tar"), hashlib.md5(server.content).hexdigest())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    root = miniatures.voc(tmp_path / "original")
    with tarfile.open(tmp_path / "VOC.tar", "w") as tar:
        tar.add(root / "VOCdevkit", "VOCdevkit")
    with serving((tmp_path / "VOC.tar").read_bytes()) as server:
        yield server


def test_a_data_set_is_fetched_once(server: FileServer, tmp_path: Path) -> None:
    for _ in range(2):
        source = Voc(str(tmp_path / "root"), archive_of(server), True, [0.4] * 3, [0.3] * 3)
    assert len(source.images("train")) == 3
    assert server.asked == [None]
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["VOCdevkit"]


def test_a_lost_connection_is_taken_up_again(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000, 5000]
    fetch(archive_of(server), tmp_path / "root")
    assert server.asked == [None, "bytes=1000-", "bytes=6000-"]
    assert (tmp_path / "root" / "VOCdevkit").is_dir()


@pytest.mark.parametrize("resumes", [True, False])
def test_an_interrupted_download_goes_on(server: FileServer, tmp_path: Path, resumes: bool) -> None:
    server.resumes = resumes
    (tmp_path / "VOC.tar.part").write_bytes(server.content[:3000])
    fetch(archive_of(server), tmp_path)
    assert server.asked == ["bytes=3000-"]
    assert (tmp_path / "VOCdevkit").is_dir()


def test_a_complete_file_is_only_unpacked(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "VOC.tar.part").write_bytes(server.content)
    fetch(archive_of(server), tmp_path)
    assert (tmp_path / "VOCdevkit").is_dir()


def test_a_wrong_file_is_removed(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="instead of 123; it was removed"):
        fetch(Archive(archive_of(server).url, "123"), tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_server_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/x\.tar' could not be fetched"):
        fetch(Archive("http://127.0.0.1:9/x.tar", ""), tmp_path)


def test_what_is_there_already_is_not_replaced(server: FileServer, tmp_path: Path) -> None:
    own = tmp_path / "root" / "VOCdevkit"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(UserError, match=r"VOCdevkit' exists already and is not replaced"):
        fetch(archive_of(server), tmp_path / "root")
    assert own.read_text() == "mine"
    own.unlink()
    fetch(archive_of(server), tmp_path / "root")  # the download is kept
    assert server.asked == [None, f"bytes={len(server.content)}-"]
    assert own.is_dir()


@pytest.mark.parametrize("declared", [True, False])
def test_a_download_without_end_is_stopped(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    monkeypatch.setattr(download, "LARGEST", 4000)
    monkeypatch.setattr("src.download.CHUNK", 1000)
    server.declares = declared
    with pytest.raises(UserError, match="has more than"):
        fetch(archive_of(server), tmp_path)
    partial = tmp_path / "VOC.tar.part"
    assert not partial.exists() or partial.stat().st_size <= 4000


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    with tarfile.open(tmp_path / "VOC.tar", "w:gz") as tar:
        tar.add(tmp_path / "zeros", "VOCdevkit")
    server.content = (tmp_path / "VOC.tar").read_bytes()
    with pytest.raises(UserError, match="could not be fetched"):
        fetch(archive_of(server), tmp_path / "root")
    assert not (tmp_path / "root" / "VOCdevkit").exists()
