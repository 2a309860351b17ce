"""Checkpoints at an address: the file of the digest that was given, or one clear error and nothing kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.checkpoints.weights_file import SHIPPED, place_of
from src.cli.arguments import readable
from src.errors import UserError
from tests.support.file_server import FileServer, serving

CONTENT = (SHIPPED / "arseg_camvid.safetensors").read_bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with serving(CONTENT) as server:
        yield server


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


def test_an_address_is_fetched_once_and_is_a_checkpoint_like_any_other(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000]
    address = f"{server.address('some/own.safetensors?token=secret')}#sha256={DIGEST}"
    for form in (address, Path(address), address.replace(DIGEST, DIGEST.upper())):
        loaded = load_checkpoint(form)
    own = load_checkpoint("arseg_camvid")
    assert loaded.metadata == own.metadata
    for name, value in own.network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[name]), name
    assert server.asked == [None, "bytes=1000-"], "once, resumed"
    assert kept(tmp_path) == [place_of(address)]
    assert place_of(address).name == "own.safetensors"
    assert readable("predict", [f"checkpoint={address}"]) == [f"checkpoint='{address}'"]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("", r"/a\.ckpt' is an address without its digest; give '.*/a\.ckpt#sha256=DIGEST'"),
        ("?key=secret#sha256=12", "is an address without its digest"),
        (f"?key=secret#sha256={'0' * 64}", f"digest sha256={DIGEST}, not 0000.*nothing is kept"),
    ],
)
def test_what_has_not_the_digest_is_not_kept(server: FileServer, tmp_path: Path, end: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_checkpoint(server.address("a.ckpt") + end)
    assert "secret" not in str(error.value)
    assert kept(tmp_path) == []


def test_more_than_any_checkpoint_has_is_not_taken(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.checkpoints.remote.LARGEST", 10**6)
    server.declares = False
    with pytest.raises(UserError, match=r"a\.ckpt' has more than 1 MB"):
        load_checkpoint(f"{server.address('a.ckpt')}#sha256={DIGEST}")
    assert kept(tmp_path) == []


def test_an_address_that_gives_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(UserError, match=r"'http://127\.0\.0\.1:9/x\.ckpt' could not be fetched.*give the file"):
        load_checkpoint(f"http://127.0.0.1:9/x.ckpt#sha256={DIGEST}")
    assert kept(tmp_path) == []
