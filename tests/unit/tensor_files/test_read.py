"""Reading foreign checkpoint files: containers, prefixes, and files with more in them than tensors."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from src.errors import UserError
from src.tensor_files.read import read_state_dict, unwrap

REMEDY = "download it again"
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def same(state: dict[str, torch.Tensor]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "meta": {"epoch": 3}},
        lambda s: {"epoch": 3, "model_state": s, "best_iou": 0.7},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {f"module.{key}": value for key, value in s.items()},
        lambda s: {"state_dict": {f"module.{key}": value for key, value in s.items()}},
    ],
)
def test_containers_and_prefixes(wrap, tmp_path: Path):
    file = tmp_path / "x.pth"
    torch.save(wrap(STATE), file)
    assert same(read_state_dict(file, REMEDY, foreign=True))


def test_a_parameter_named_model_is_no_container():
    assert unwrap({"model": torch.ones(1)}, "x").keys() == {"model"}


class Hub:
    """Like mmengine's message hub: a foreign object beside the weights, which tries to act when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_objects_are_dropped_and_not_run(tmp_path: Path, zipped: bool):
    file, marker = tmp_path / "x.pth", tmp_path / "was_run"
    content = {"message_hub": Hub(marker), "meta": {"hubs": [Hub(marker)]}, "state_dict": STATE}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(file, REMEDY, foreign=True))
    assert not marker.exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path: Path):
    file, marker = tmp_path / "x.pkl", tmp_path / "was_run"
    file.write_bytes(pickle.dumps(Hub(marker), protocol=2))
    with pytest.raises(UserError, match=r"x\.pkl"):
        read_state_dict(file, REMEDY, foreign=True)
    assert not marker.exists()


def test_files_without_a_state_dict(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        read_state_dict(tmp_path / "absent.pth", REMEDY)
    for content in (b"", b"not a checkpoint"):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.pth' cannot be read"):
            read_state_dict(tmp_path / "bad.pth", REMEDY)
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(UserError, match=r"empty\.pth' holds no state dict"):
        read_state_dict(tmp_path / "empty.pth", REMEDY)
    torch.save(STATE, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cut\.pth' cannot be read"):
        read_state_dict(tmp_path / "cut.pth", REMEDY)
