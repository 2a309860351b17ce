"""Networks by name: every name builds, wrong ones are refused with a remedy, plugins add their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from src.errors import UserError
from src.models.arseg.fusion import CReFF
from src.models.arseg.net import ARSeg
from src.models.registry import (
    NETWORKS,
    build,
    build_shapes,
    load_plugins,
    network_of_node,
    register,
    without_initial_weights,
)
from tests.support.tiny_arseg import Tiny

TDNETS = ("td4_psp18", "td2_psp50", "td4_bise18", "td2_fa18")
BRANCH = {"name": "tiny", "arguments": {"num_classes": 3, "channels": 10}}


def test_every_built_in_name_leads_to_a_constructor() -> None:
    with torch.device("meta"):
        for name in (
            "bisenet",
            "dfanet",
            "pspnet",
            "pspnet_camvid",
            "td4_psp18",
            "td2_psp50",
            "td4_bise18",
            "td2_fa18",
        ):
            assert build(name, {"num_classes": 3}).num_classes == 3


def test_a_network_whose_constructor_needs_values_is_built_with_memory() -> None:
    def scheduled(rate: float) -> nn.Module:
        return nn.Dropout(torch.linspace(0, rate, 3)[1].item())

    register("scheduled", scheduled)
    try:
        assert build_shapes("scheduled", {"rate": 0.5}).p == 0.25
        assert build_shapes("bisenet", {"num_classes": 3}).classifier.weight.device.type == "meta"
    finally:
        del NETWORKS["scheduled"]


def test_arseg_runs_over_any_network_with_the_channels_of_its_features() -> None:
    net = build("arseg", {"network": BRANCH, "lr_scale": 0.3, "fusion": {"mix": "gate", "window": 5}})
    assert isinstance(net, ARSeg)
    assert (net.fusion.channels, net.fusion.window, net.fusion.mix, net.scale) == (10, 5, "gate", 0.3)
    assert isinstance(net.high, Tiny)
    assert net.high.body is not net.low.body
    assert not torch.equal(net.high.body[0].weight, net.low.body[0].weight)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("bisnet", {}, r"did you mean bisenet, .*plugins=\[package.module\]"),
        ("bisenet", {"num_classes": 3, "depth": 50}, "no argument 'depth'; known: num_classes, weights"),
        ("bisenet", {}, "needs num_classes"),
        ("rdrnet_deployed", {"num_classes": 3, "depth": 50}, "no argument 'depth'"),
        ("arseg", {"network": {"name": "bisnet", "arguments": {}}}, "did you mean bisenet"),
        ("arseg", {"network": {"name": "xception", "arguments": {"variant": "a"}}}, "not over a Xception"),
        ("arseg", {"network": BRANCH, "fusion": {"channels": 3}}, "no option of the fusion; known: window, mix"),
        ("pspnet", {"num_classes": 3, "depth": 7}, r"'pspnet' cannot be built with num_classes=3, depth=7 \(KeyError"),
        ("pspnet", {"num_classes": 3, "dropout": 2}, r"dropout=2 \(ValueError: dropout.*\); correct its arguments"),
        ("pspnet", {"num_classes": 3, "head_channels": -1}, r"head_channels=-1 \(RuntimeError: .*negative dimension"),
    ],
)
def test_wrong_names_and_arguments_are_refused_with_a_remedy(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, arguments)


@pytest.mark.parametrize("node", [None, "rdrnet", {"name": "rdrnet"}, {"_target_": "src.models.rdrnet.net.RDRNet"}])
def test_a_network_is_described_by_name_and_arguments(node: object) -> None:
    with pytest.raises(UserError, match="describe it by `name` and `arguments`, as in conf/network"):
        network_of_node(node)
    described = {"name": "rdrnet", "arguments": {"width": 32}}
    assert network_of_node({**described, "comment": 1}) == described


def test_initial_weights_are_left_out_at_any_depth() -> None:
    spec = {"name": "arseg", "arguments": {"network": {"name": "timm", "arguments": {"weights": "x.pth", "width": 8}}}}
    left = without_initial_weights(spec)
    assert left["arguments"]["network"]["arguments"] == {"weights": "none", "width": 8}


def test_a_plugin_registers_a_network_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from src.models.registry import register\nfrom torch import nn\n\n"
        "class Mine(nn.Module):\n    pass\n\nregister('mine', Mine)\n"
    )
    (tmp_path / "my_nets.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("src.models.registry.NETWORKS", dict(NETWORKS))
    load_plugins(["my_nets"])
    assert type(build("mine", {})).__name__ == "Mine"
    del sys.modules["my_nets"]
    load_plugins(["my_nets"])  # the same again is no conflict
    with pytest.raises(UserError, match="'mine' is registered already"):
        register("mine", nn.Identity)
    with pytest.raises(UserError, match="'bisenet' is registered already"):
        register("bisenet", nn.Identity)
    with pytest.raises(UserError, match="plugin 'my_nots' cannot be found"):
        load_plugins(["my_nots"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_like_it", r"ModuleNotFoundError: No module named 'nothing_like_it' \(.*broken\.py, line 2\)"),
        ("from torch import nothing", r"ImportError: cannot import name 'nothing'.* line 2\)"),
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*broken\.py, line 2\)"),
        ("def f(:", r"SyntaxError: .* \(.*broken\.py, line 2\)"),
    ],
)
def test_a_plugin_that_fails_is_not_called_missing(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(f"\n{source}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=rf"plugin 'broken' fails when it is imported: {message}"):
        load_plugins(["broken"])


def test_a_library_for_which_there_is_no_memory_is_no_fault_of_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.py").write_text('raise ImportError("libx.so: failed to map segment from shared object")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match="failed to map"):  # which commands answer as want of memory
        load_plugins(["large"])


@pytest.mark.parametrize("paths", [-1, 0, 1, 17, 100_000_000])
def test_a_number_of_paths_out_of_range_is_refused_before_any_is_built(paths: int) -> None:
    with pytest.raises(UserError, match=rf"network\.num_paths={paths} is out of range; give 2 to 16"):
        build("td4_psp18", {"num_classes": 3, "num_paths": paths})


def test_arseg_over_a_video_method_is_refused_with_a_remedy() -> None:
    spec = {"name": "td2_fa18", "arguments": {"num_classes": 3}}
    with pytest.raises(UserError, match=r"not over a TDNet; give network=NAME .* such as bisenet18"):
        build("arseg", {"network": spec})


def test_a_fusion_for_other_channels_is_refused_with_both_numbers() -> None:
    with pytest.raises(UserError, match=r"features have 6 channels.* built for 5;"):
        ARSeg(Tiny(), Tiny(), CReFF(5))
