"""A checkpoint is data: what is in it is checked, and never resolved, imported or called."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints.load import load_checkpoint, read_checkpoint, read_content
from src.commands.evaluated_data import data_config
from src.errors import UserError
from src.models.arseg.net import ARSeg
from src.models.video import SingleFrame
from tests.support.tiny_runner import AR, IMAGE, save_checkpoint, tiny_metadata

OLD = Path(__file__).parent / "data" / "arseg_format1.ckpt"


def crafted(path: Path, **changes: Any) -> Path:
    """A checkpoint with other metadata than its network's."""
    save_checkpoint(path, IMAGE)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "metadata": {**content["metadata"], **changes}}, path)
    return path


def old_card(path: Path, node: Any, **config: Any) -> Path:
    """A checkpoint of format 1 whose network is described by a configuration node."""
    content = torch.load(OLD, weights_only=True)
    card = content["card"]
    resolved = card["resolved"]
    low = resolved["model"]["phases"]["low"]
    phases = {"low": {**low, "module": {**low["module"], "net": node}}}
    changed = {**resolved, "model": {**resolved["model"], "phases": phases}, **config}
    torch.save({**content, "card": {**card, "resolved": changed}}, path)
    return path


def test_networks_come_back_with_their_weights(tmp_path: Path) -> None:
    single, pair = (save_checkpoint(tmp_path / f"{n['name']}.ckpt", n) for n in (IMAGE, AR))
    loaded = load_checkpoint(single)
    assert isinstance(loaded.network, SingleFrame)
    assert (loaded.network.scale, loaded.gop, loaded.fit, len(loaded.classes)) == (0.5, 5, None, 4)
    state = {f"net.{key}": value for key, value in loaded.network.net.state_dict().items()}
    stored = read_content(single)["state_dict"]
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[key], stored[key]) for key in stored)
    assert isinstance(load_checkpoint(pair).network, ARSeg)


def test_a_checkpoint_of_format_1_comes_back_with_its_weights() -> None:
    loaded = load_checkpoint(OLD)
    network = loaded.network
    assert isinstance(network, ARSeg)
    assert loaded.metadata["network"]["arguments"]["fusion"] == {
        "mix": "gate", "init": "kaiming", "window": 7, "warp": True
    }  # fmt: skip
    assert loaded.metadata["data"]["name"] == "street"
    assert loaded.metadata["data"]["options"]["source"]["films"] == {"train": 2, "val": 1}
    assert loaded.gop == 4
    stored = torch.load(OLD, weights_only=True)["state_dict"]
    state = {f"net.{key}": value for key, value in network.state_dict().items()}
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[key], stored[key]) for key in stored)


TIMM = {"encoder": "resnet18", "num_classes": 4}
TOUCH = {"_target_": "pathlib.Path.touch", "self": "trace"}
GADGET = {"_target_": "src.files.write_text", "path": "trace", "text": ""}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"name": "rdrnet", "arguments": {"width": "${oc.create:{a: 1}}"}}}, "interpolation"),
        ({"network": {"name": "rdrnet", "arguments": {"width": "${oc.env:HOME}"}}}, "interpolation"),
        ({"network": {"name": "rdrnet", "arguments": {"width": GADGET}}}, "names code to call"),
        ({"network": {"name": "os.system", "arguments": {"command": "touch trace"}}}, "'os.system' is unknown"),
        ({"network": {"name": "tests.trace:Net", "arguments": {}}}, "is not a name"),
        ({"network": {"name": "tiny_segmenter", "arguments": {"width": float("nan")}}}, "not a number"),
        ({"network": {"name": "tiny_segmenter", "arguments": {"width": 10**9}}}, "larger than any"),
        ({"network": {"name": "tiny_segmenter", "arguments": {"width": 16}}}, "tensors are not those"),
        ({"network": {"name": "tiny_segmenter", "arguments": {"width": "x"}}}, "cannot be built"),
        (
            {"network": {"name": "tiny_segmenter", "arguments": {"width": 16384, "num_classes": 16384}}},
            "more than .* numbers in them",
        ),
        ({"network": {"name": "timm", "arguments": {**TIMM, "bins": [1, 2, 3, 16384]}}}, r"bins=.* from 1 to 64"),
        (
            {"network": {"name": "arseg", "arguments": {"network": IMAGE, "fusion": {"window": 16383}}}},
            "window=16383 .* from 1 to 63",
        ),
        ({"network": {"name": "tiny_segmenter", "arguments": {"depth": 1}}}, "no argument 'depth'"),
        ({"network": {"name": "tiny_segmenter", "arguments": {"weights": "trace"}}}, "no argument 'weights'"),
        ({"network": {"name": "tiny_segmenter"}}, "network lacks arguments"),
        ({"network": "tiny_segmenter"}, "network is not a mapping"),
        ({"format": 3}, "format=3"),
        ({"phase": "../../etc"}, "phase="),
        ({"lr_scale": float("inf")}, "lr_scale"),
        ({"classes": {"names": ["a"], "palette": [[0, 0, 256]]}}, "palette"),
        ({"classes": {"names": ["a"], "palette": []}}, "palette"),
        ({"normalisation": {"mean": [0.5] * 3, "std": [0.0] * 3}}, "std"),
        ({"fit": {"short": -1, "long": 5}}, r"fit\.short"),
        ({"video": {"codec": "${oc.env:HOME}", "gop": 5, "motion": "exact"}}, r"video\.codec"),
        ({"video": {"codec": "h264", "gop": 10**9, "motion": "exact"}}, r"video\.gop"),
        ({"seed": True}, "seed"),
        ({"data": {"name": "../trace", "options": {}}}, r"data\.name"),
        ({"data": {"name": "street", "options": {"crop": "${oc.env:HOME}"}}}, "interpolation"),
    ],
)
def test_crafted_metadata_is_refused_in_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crafted(tmp_path / "crafted.ckpt", **changes)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    modules = set(sys.modules)
    with pytest.raises(UserError, match=message) as refusal:
        load_checkpoint(path)
    assert "\n" not in str(refusal.value)
    assert not list(Path.cwd().iterdir())
    assert not {m for m in set(sys.modules) - modules if m.startswith("tests.")}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("${oc.create:{_target_: pathlib.Path.touch}}", "not a mapping"),
        ("${oc.env:HOME}", "not a mapping"),
        (TOUCH, "no network of this project"),
        (GADGET, "no network of this project"),
        (
            {"_target_": "src.commands.provenance.subprocess.run", "args": ["touch", "trace"]},
            "no network of this project",
        ),
        ({"_target_": "src.models.rdrnet.net.RDRNet", "num_classes": TOUCH}, "names code to call"),
        ({"_target_": "src.models.rdrnet.net.RDRNet", "num_classes": "${oc.env:HOME}"}, "interpolation"),
        ({"_target_": "src.models.rdrnet.net.RDRNet", "num_classes": "${model.nothing}"}, "refers to nothing"),
        ({"_target_": "src.models.deploy.reparameterise.deploy", "net": TOUCH}, "no network of this project"),
    ],
)
def test_a_crafted_card_is_refused_in_one_line(
    node: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_card(tmp_path / "crafted.ckpt", node)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UserError, match=message) as refusal:
        load_checkpoint(path)
    assert "\n" not in str(refusal.value)
    assert not list(Path.cwd().iterdir())


def test_an_old_reference_within_the_configuration_is_looked_up(tmp_path: Path) -> None:
    content = torch.load(OLD, weights_only=True)
    card = content["card"]
    node = card["resolved"]["model"]["phases"]["low"]["module"]["net"]
    for branch in ("high", "low"):
        node[branch]["num_classes"] = "${model.num_classes}"
    path = old_card(tmp_path / "reference.ckpt", node)
    assert load_checkpoint(path).network.num_classes == 11


def test_code_in_the_configuration_of_a_checkpoint_is_not_read(tmp_path: Path, composed: Any) -> None:
    """Neither its resolved configuration nor the options of its data set reach anything that calls or opens."""
    config = {"data": {"module": TOUCH}, "logger": "${oc.env:HOME}"}
    options = {
        "root": 1,
        "module": {**TOUCH, "cache": "trace", "source": TOUCH},
        "source": {"films": {"train": 3}, **GADGET},
        "fps": 20,
        "unknown": 1,
    }
    path = crafted(tmp_path / "x.ckpt", config=config, data={"name": "street", "groups": {}, "options": options})
    loaded = load_checkpoint(path)
    given = composed("eval", tmp_path, f"checkpoint={path}", "paths.cache=here")
    data = data_config(loaded.metadata, given, str(path))
    assert data.data.module._target_ == "src.data.module.ClipDataModule"
    assert data.data.source._target_.endswith(".Street")
    assert (data.data.fps, data.data.source.films.train, data.data.root, data.data.module.cache) == (
        20,
        3,
        None,
        "here",
    )
    assert "unknown" not in data.data
    old = read_checkpoint(old_card(tmp_path / "y.ckpt", AR, data={"module": TOUCH, "source": TOUCH}))
    assert old["metadata"]["data"] is None
    with pytest.raises(UserError, match="does not name the data set"):
        data_config(old["metadata"], given, "y.ckpt")


@pytest.mark.parametrize("data", [(), ("data=street",)], ids=["as trained", "given"])
def test_clips_are_looked_for_in_the_cache_of_the_training(tmp_path: Path, composed: Any, data: tuple[str]) -> None:
    """Unless the command line names another, or that folder is not on this machine."""
    metadata = tiny_metadata(IMAGE, data={"name": "street", "groups": {}, "options": {}})
    cache, run = tmp_path / "big" / "cache", tmp_path / "run"
    cache.mkdir(parents=True)
    run.mkdir()
    path = str(run / "main" / "checkpoints" / "best.ckpt")

    def used(*overrides: str) -> str:
        given = composed("eval", tmp_path, f"checkpoint={path}", *data, *overrides)
        return str(data_config(metadata, given, path).data.module.cache)

    assert used() == "cache"
    (run / "config_resolved.yaml").write_text(f"paths: {{cache: {cache}}}")
    assert used() == str(cache)
    assert used("paths.cache=here") == "here"
    moved = tmp_path / "moved"
    moved.mkdir()
    (run / "resumes.jsonl").write_text(json.dumps({"changes": {"paths.cache": {"new": str(moved)}}}) + "\n")
    assert used() == str(moved)
    (run / "resumes.jsonl").unlink()
    for content in (f"paths: {{cache: {tmp_path / 'gone'}}}", "paths: [1]", "[" * 5000, "\0", "paths: {cache: 3}"):
        (run / "config_resolved.yaml").write_text(content)
        assert used() == "cache"


def test_data_of_earlier_checkpoints_follow_the_seed_of_their_training(tmp_path: Path, composed: Any) -> None:
    def seed(options: dict[str, Any], *overrides: str) -> int:
        metadata = tiny_metadata(IMAGE, data={"name": "street", "groups": {}, "options": options}, seed=304)
        return int(data_config(metadata, composed("eval", tmp_path, "checkpoint=x", *overrides), "x").data.seed)

    assert (seed({}), seed({"seed": 0}), seed({}, "data.seed=7")) == (304, 0, 7)


def test_a_data_set_that_is_not_here_is_refused(tmp_path: Path, composed: Any) -> None:
    given = composed("eval", tmp_path, "checkpoint=x.ckpt")
    metadata = tiny_metadata(IMAGE, data={"name": "elsewhere", "groups": {}, "options": {}})
    with pytest.raises(UserError, match="data=elsewhere, which is no configuration here") as refusal:
        data_config(metadata, given, "x.ckpt")
    assert "\n" not in str(refusal.value)


def test_a_pickle_in_place_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Gadget:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trace"),)

    torch.save({"metadata": Gadget(), "state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / "x.ckpt")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        ("data.source._target_", "os.getcwd"),
        ("paths.cache", "elsewhere"),
        ("experiment", "arseg_street"),
        ("hydra/launcher", "slurm"),
        ("data/clips@data.source._target_", "films"),
        ("data/clips@data.module.clips", "os.getcwd"),
        ("data/clips@data.module.clips", "../films"),
    ],
)
def test_groups_other_than_those_of_a_data_set_are_refused(group, choice, tmp_path):
    data = {"name": "street", "groups": {group: choice}, "options": {}}
    path = save_checkpoint(tmp_path / "net.ckpt", IMAGE)
    content = torch.load(path, weights_only=True)
    content["metadata"]["data"] = data
    torch.save(content, path)
    with pytest.raises(UserError, match=r"is rejected: data\.groups="):
        load_checkpoint(path)


def test_numbers_too_long_to_print_are_refused_in_one_line(tmp_path):
    path = save_checkpoint(tmp_path / "net.ckpt", IMAGE)
    content = torch.load(path, weights_only=True)
    content["metadata"]["seed"] = 10**600
    torch.save(content, path)
    with pytest.raises(UserError, match="is rejected: seed=a number of"):
        load_checkpoint(path)


def test_cyclic_cards_and_names_with_escapes_are_refused(tmp_path):
    cyclic: dict = {"phases": {}}
    cyclic["phases"]["only"] = {"module": {"net": cyclic}}
    torch.save({"card": {"config": {"model": cyclic}, "phase": "only"}, "state_dict": {}}, tmp_path / "cyclic.ckpt")
    with pytest.raises(UserError):
        load_checkpoint(tmp_path / "cyclic.ckpt")
    path = save_checkpoint(tmp_path / "net.ckpt", IMAGE)
    content = torch.load(path, weights_only=True)
    content["metadata"]["classes"]["names"][0] = "\x1b[31mroad"
    torch.save(content, path)
    with pytest.raises(UserError, match=r"classes\.names"):
        load_checkpoint(path)


def test_a_folder_is_not_called_absent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder; give the path of a \.ckpt file"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match="none' does not exist; give"):
        load_checkpoint(tmp_path / "none")
