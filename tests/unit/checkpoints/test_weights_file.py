"""Weights as safetensors files, and those that come with the project."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from scripts import pack_weights
from src.checkpoints.load import load_checkpoint, read_checkpoint
from src.checkpoints.metadata import KEY
from src.checkpoints.weights_file import SHIPPED, SUFFIX, place_of, shipped_names, write_weights
from src.errors import MissingCheckpoint, UserError
from src.inference.api import load_segmenter
from tests.support import videos

MOST = 40e6  # bytes of all shipped files together


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"copy{SUFFIX}"
    write_weights(path, read_checkpoint("arseg_camvid"))
    return path


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_weights_segment_a_street(name: str, tmp_path: Path) -> None:
    scene = np.zeros((96, 128, 3), np.uint8)
    scene[:48], scene[48:] = (228, 232, 236), (75, 75, 78)  # an overcast sky, as in CamVid, over a grey road
    video = videos.write(tmp_path / "street.mp4", [scene] * 3, "libx264", videos.ONE_REFERENCE)
    segmenter = load_segmenter(name, device="cpu", backend="torch", precision="fp32")
    names = segmenter.classes.names
    for frame in segmenter.run(video):
        top = names[np.bincount(frame.labels[:24].ravel()).argmax()]
        assert top == "sky"


def test_shipped_weights_are_small_and_documented() -> None:
    assert shipped_names()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= MOST
    card = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
    assert all(f"`{name}`" in card for name in shipped_names())


def test_a_packed_file_holds_the_same_network(packed: Path) -> None:
    first, second = load_checkpoint("arseg_camvid"), load_checkpoint(packed)
    assert first.metadata == second.metadata
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_statistics_keep_their_precision(tmp_path: Path, packed: Path) -> None:
    content = read_checkpoint(packed)
    statistic = next(name for name in content["state_dict"] if name.endswith("running_var"))
    weight = next(name for name in content["state_dict"] if name.endswith("conv_stem.weight"))
    value = torch.full_like(content["state_dict"][statistic], 1e5)  # beyond float16
    content["state_dict"][statistic] = value
    content["state_dict"][weight] = content["state_dict"][weight] * 1.0001
    path = tmp_path / f"new{SUFFIX}"
    write_weights(path, content)
    again = read_checkpoint(path)["state_dict"]
    assert torch.equal(again[statistic], value)
    assert torch.allclose(again[weight], content["state_dict"][weight], rtol=1e-3)


def test_files_of_the_user_come_before_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of("arseg_camvid").parent == SHIPPED
    Path("arseg_camvid").write_bytes(b"mine")
    assert place_of("arseg_camvid") == Path("arseg_camvid")


def test_a_missing_checkpoint_names_the_shipped_ones() -> None:
    with pytest.raises(MissingCheckpoint, match=r"arseg_camvid, constant_camvid, rdrnet_camvid$"):
        load_checkpoint("arseg_camvit")


@pytest.mark.parametrize("kind", ["cut", "flipped", "header", "changed", "pickle"])
def test_damaged_files_are_rejected_in_one_line(kind: str, packed: Path, tmp_path: Path) -> None:
    path, content = tmp_path / f"damaged{SUFFIX}", bytearray(packed.read_bytes())
    if kind == "cut":
        content = content[:-1000]
    elif kind == "flipped":
        content[len(content) // 2] ^= 1
    elif kind == "header":
        content[:8] = (1 << 62).to_bytes(8, "little")
    elif kind == "pickle":
        content = bytearray(b"PK\x03\x04" + bytes(100))
    path.write_bytes(content)
    if kind == "changed":
        with safe_open(packed, framework="pt") as file:
            header, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = json.loads(header[KEY])
        metadata["video"]["gop"] = 3
        save_file(state, path, {**header, KEY: json.dumps(metadata)})
    with pytest.raises(UserError, match=r"damaged|cannot be read") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_packing_refuses_to_overwrite(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pack_weights", "arseg_camvid", str(packed)])
    with pytest.raises(SystemExit) as end:
        pack_weights.main()
    assert end.value.code == 2
    assert "has to be a new file" in capsys.readouterr().err
