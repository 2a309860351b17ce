"""Any change to a checkpoint is found, to its bytes and to its content."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.checkpoints.digest import content_digest, serialise
from src.checkpoints.load import load_checkpoint, read_content
from src.errors import UserError
from tests.support.tiny_runner import IMAGE, save_checkpoint


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A checkpoint as training writes it, with an optimiser's state."""
    content = torch.load(save_checkpoint(tmp_path / "plain.ckpt", IMAGE), weights_only=True)
    moments = {name: torch.rand_like(value) for name, value in content["state_dict"].items()}
    path = tmp_path / "sound.ckpt"
    path.write_bytes(serialise({**content, "optimizer_states": [{"state": {0: moments}}]}).getvalue())
    return path


def test_any_flipped_bit_is_found(sound: Path, tmp_path: Path) -> None:
    load_checkpoint(sound)
    whole, damaged = sound.read_bytes(), tmp_path / "damaged.ckpt"
    places = np.random.default_rng(0).integers(0, len(whole), 150)  # headers and padding among them
    for place in [*places.tolist(), *range(len(whole) - 45, len(whole))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged.write_bytes(flipped)
        with pytest.raises(UserError, match=r"damaged\.ckpt' (cannot be read|is damaged|was not written)") as refusal:
            read_content(damaged)
        assert "\n" not in str(refusal.value)


def test_the_digest_holds_in_another_archive(sound: Path, tmp_path: Path) -> None:
    """Packing again is allowed; packing something else is not, though all checksums of the archive fit."""
    for change, allowed in ((b"", True), (b"\x01", False)):
        with zipfile.ZipFile(sound) as old, zipfile.ZipFile(tmp_path / "packed.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
            largest = max(old.infolist(), key=lambda record: record.file_size * record.filename.endswith("/0")).filename
            for name in old.namelist():
                data = old.read(name)
                new.writestr(name, change + data[len(change) :] if name == largest else data)
        if allowed:
            load_checkpoint(tmp_path / "packed.ckpt")
            continue
        with pytest.raises(UserError, match="does not fit its digest"):
            load_checkpoint(tmp_path / "packed.ckpt")


def test_changed_content_is_refused_until_its_digest_is_removed(sound: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = torch.load(sound, weights_only=True)
    next(iter(content["state_dict"].values())).view(-1)[0] += 1
    torch.save(content, tmp_path / "edited.ckpt")
    with pytest.raises(UserError, match="remove its key 'digest' if you have changed it yourself"):
        load_checkpoint(tmp_path / "edited.ckpt")
    del content["digest"]
    torch.save(content, tmp_path / "edited.ckpt")
    load_checkpoint(tmp_path / "edited.ckpt")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": [1, 2]}, {"a": [[1, 2]]}),
        ({"a": "1"}, {"a": 1}),
        ({"a": 1}, {"a": True}),
        ({"a": torch.ones(2)}, {"a": torch.ones(1, 2)}),
        ({"a": torch.zeros(2)}, {"a": torch.zeros(2, dtype=torch.int32)}),
        ({"a": torch.arange(4).reshape(2, 2)}, {"a": torch.tensor([[0, 2], [1, 3]]).t()}),
    ],
)
def test_contents_that_differ_have_other_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert content_digest(one) != content_digest(other)
    assert content_digest(one) == content_digest({**one, "digest": "x"})
