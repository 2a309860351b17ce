"""Every network as graphs of ONNX and OpenVINO, frame by frame beside itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints.load import LoadedModel
from src.data.images import IMAGENET
from src.data.labels import ClassSet
from src.errors import UserError
from src.exporting.comparison import compare, synthetic_frames, synthetic_inputs
from src.exporting.export import ExportOptions, export, metadata_of
from src.exporting.graphs import trace
from src.exporting.runtimes import RUNTIMES
from src.exporting.segmenter import ExportedSegmenter
from src.models.deploy.inference_form import inference_form
from src.models.dff.net import DFF, Accel
from src.models.tdnet.net import TDNet
from src.models.tdnet.paths import BisePath
from src.models.tdnet.variants import td4_psp18
from src.models.video import FrameInput, SingleFrame, VideoSegmenter, as_video_segmenter
from tests.support.foreign_methods import Follower, Smoother
from tests.support.network_cases import CASES, CLASSES
from tests.support.tiny_arseg import Tiny, tiny_arseg
from tests.support.tiny_runner import Averager
from tests.support.tiny_tdnet import tiny_tdnet

SIZE = (64, 96)
METHODS: dict[str, Callable[[], Any]] = {
    "arseg": tiny_arseg,
    "arseg_gate": lambda: tiny_arseg(mix="gate", init="identity"),
    "arseg_official": lambda: tiny_arseg(legacy="coarse_logits"),
    "dff": lambda: DFF(Tiny),
    "accel": lambda: Accel(Tiny, lambda: Tiny(stride=2)),
    "tdnet_3": lambda: tiny_tdnet(CLASSES, 3),
    "smoother": Smoother,
    "follower": Follower,
    "low_resolution": lambda: SingleFrame(Tiny(), 0.5),
}
NETWORKS: dict[str, Callable[[], Any]] = {
    **{name: CASES[name].build for name in ("pspnet", "pspnet_full", "bisenet", "rdrnet", "ddrnet", "pidnet")},
    **{name: CASES[name].build for name in ("dfanet_a", "timm", "gcnet", "efficientvit_seg")},
    **{name: CASES[name].build for name in ("bisenetv2", "stdc", "fast_scnn")},
    **{name: CASES[name].build for name in ("pp_liteseg", "icnet", "erfnet", "cgnet")},
}
TDNETS: dict[str, Callable[[], Any]] = {  # with two paths: three graphs
    "td2_fa18": CASES["td2_fa18"].build,
    "td2_psp18": lambda: td4_psp18(CLASSES, num_paths=2),
    "td2_bise18": lambda: TDNet([BisePath(CLASSES, half, False, "none") for half in (0, 1)], subsampling=5),
}


def loaded(build: Callable[[], Any]) -> LoadedModel:
    torch.manual_seed(0)
    net = as_video_segmenter(build().eval())
    classes = ClassSet(tuple(map(str, range(net.num_classes))), tuple((n, 0, 0) for n in range(net.num_classes)))
    return LoadedModel(net, classes, IMAGENET, None, 3, {"network": {"name": "network"}, "fit": None})


def agrees(net: VideoSegmenter, model: LoadedModel, folder: Path, formats: tuple[str, ...], dynamic: bool) -> None:
    graphs = trace(net, model.gop, *synthetic_inputs(SIZE), dynamic=dynamic)
    about = {**metadata_of(model, net, graphs, SIZE), "precision": "fp32"}
    for name in formats:
        runtime = RUNTIMES[name]()
        for graph in graphs.graphs.values():
            runtime.save(
                runtime.convert(graph), folder / f"{graph.name}{runtime.suffix}", {**about, "graph": graph.name}
            )
        exported = ExportedSegmenter(folder, runtime, 1, net.cycle(3))
        rows = compare(net, exported, synthetic_frames(net, SIZE))
        assert sorted(row.graph for row in rows) == sorted(graphs.graphs), name
        assert all(row.difference < 1e-4 and row.equal > 0.999 for row in rows), (name, rows)
        assert exported.metadata == json.loads(json.dumps({**about, "graph": exported.metadata["graph"]}))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_the_same_over_two_cycles(name: str, tmp_path: Path) -> None:
    model = loaded(METHODS[name])
    agrees(inference_form(model.network), model, tmp_path, ("onnx", "openvino", "torch"), dynamic=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_the_same(name: str, tmp_path: Path) -> None:
    model = loaded(NETWORKS[name])
    agrees(inference_form(model.network), model, tmp_path, ("onnx", "openvino"), dynamic=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "format"), [*zip(TDNETS, ("openvino", "onnx", "openvino"), strict=True)])
def test_paths_of_tdnet_give_the_same(name: str, format: str, tmp_path: Path) -> None:
    model = loaded(TDNETS[name])
    agrees(inference_form(model.network), model, tmp_path, (format,), dynamic=False)


def test_the_order_of_graphs() -> None:
    def order(net: VideoSegmenter, gop: int) -> tuple[list[str], int, list[str]]:
        found = trace(net.eval(), gop, *synthetic_inputs(SIZE), dynamic=False)
        return list(found.order), found.repeat_from, list(found.graphs)

    assert order(SingleFrame(Tiny()), 12) == (["key"], 0, ["key"])
    assert order(tiny_arseg(), 12) == (["key", "nonkey"], 1, ["key", "nonkey", "warp"])
    assert order(DFF(Tiny), 12) == (["key", "nonkey"], 1, ["key", "nonkey"])
    paths = [f"nonkey_{n}" for n in (1, 2, 3)]
    assert order(tiny_tdnet(CLASSES, 3), 12) == (["key", "start", *paths], 2, ["key", "start", *paths])


def test_state_that_a_step_hands_on_is_no_output() -> None:
    graphs = trace(tiny_arseg().eval(), 3, *synthetic_inputs(SIZE), dynamic=False).graphs
    assert (graphs["key"].outputs, graphs["key"].next) == (("logits", "next_features"), ("next_features",))
    assert graphs["nonkey"].inputs == ("image", "motion", "motion_valid", "state_features")
    assert (graphs["nonkey"].outputs, graphs["nonkey"].next) == (("logits",), ("state_features",))
    shared = trace(Smoother().eval(), 3, *synthetic_inputs(SIZE), dynamic=False).graphs
    assert (shared["nonkey"].outputs, shared["nonkey"].next) == (("logits",), ("logits",))


@pytest.mark.parametrize(
    ("build", "warp"), [(tiny_arseg, "warp"), (lambda: DFF(Tiny), "nonkey"), (lambda: SingleFrame(Tiny()), None)]
)
def test_the_graph_of_frames_left_to_their_motion(build: Callable[[], Any], warp: str | None) -> None:
    assert trace(build().eval(), 12, *synthetic_inputs(SIZE), dynamic=False).warp == warp


def test_a_state_that_counts_is_refused() -> None:
    with pytest.raises(UserError, match="never returns to a form"):
        trace(Averager().eval(), 3, *synthetic_inputs(SIZE), dynamic=False)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "build"), [("onnx", tiny_arseg), ("openvino", Tiny)])
def test_an_open_size(format: str, build: Callable[[], Any], tmp_path: Path) -> None:
    model = loaded(build)
    found = export(
        model, inference_form(model.network), tmp_path, ExportOptions(format, "fp32", None, 1), None, None, SIZE
    )
    assert found.segmenter.metadata["height"] is None
    with pytest.raises(UserError, match="multiples of 32"):
        found.segmenter.step(FrameInput(torch.zeros(1, 3, 70, 96)), found.segmenter.init_state())


def test_another_size_than_the_files_have(tmp_path: Path) -> None:
    model = loaded(Tiny)
    found = export(model, model.network, tmp_path, ExportOptions("torch", "fp32", SIZE, 1), None, None)
    with pytest.raises(
        UserError, match=r"64x98 pixels, the files are for 64x96; give input\.height=64 input\.width=98"
    ):
        found.segmenter.step(FrameInput(torch.zeros(1, 3, 64, 98)), found.segmenter.init_state())


def test_files_that_give_something_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(Tiny)
    real = ExportedSegmenter.step
    monkeypatch.setattr(ExportedSegmenter, "step", lambda *given: (1.1 * real(*given)[0], given[2]))
    with pytest.raises(UserError, match="differs from the network"):
        export(model, model.network, tmp_path, ExportOptions("torch", "fp32", SIZE, 1), None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("keras", "fp32", None, 1), "format=keras is not one of onnx, openvino, torch"),
        (("onnx", "bf16", None, 1), r"precision=bf16 is not one of format=onnx's .*format=openvino"),
        (("torch", "fp32", (31, 64), 1), "input.height=31"),
        (("torch", "fp32", (64, 6.5), 1), "input.width=6.5"),
    ],
)
def test_wrong_options(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExportOptions(*given)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package openvino; install it by pip install -e '\.\[export\]'"):
        ExportOptions("openvino", "fp32", None, 1)
