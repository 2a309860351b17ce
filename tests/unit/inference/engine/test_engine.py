"""Every backend computes what torch computes in float32, for single frames and for methods with a state."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from src.errors import UserError
from src.inference.api import load_segmenter
from src.inference.engine import choose
from src.inference.engine.choose import tune
from src.inference.engine.options import PLAIN, Engine, candidates
from src.inference.engine.parts import accelerate, feature_networks
from src.models.deploy.inference_form import inference_form
from src.models.video import FrameInput, SingleFrame, run_cycle
from tests.support.configs import ROOT
from tests.support.tiny_arseg import tiny_arseg
from tests.support.tiny_runner import AR, TinySegmenter, exact_film, save_checkpoint
from tests.support.tiny_tdnet import tiny_tdnet

METHODS = {
    "single": lambda: SingleFrame(TinySegmenter()),
    "reduced": lambda: SingleFrame(TinySegmenter(), 0.5),
    "arseg": lambda: tiny_arseg(mix="gate", init="identity"),
    "tdnet": lambda: tiny_tdnet(5, 3),
}


def _marks(backend: str) -> list[pytest.MarkDecorator]:
    missing = backend in ("openvino", "onnxruntime") and importlib.util.find_spec(backend) is None
    return (
        []
        if backend == "torch"
        else [pytest.mark.skipif(missing, reason=f"{backend} is not installed"), pytest.mark.slow]
    )


ENGINES = [
    pytest.param(Engine(backend, precision), tolerance, marks=_marks(backend), id=f"{backend}-{precision}")
    for backend, precision, tolerance in (
        ("torch", "bf16", 3e-2),
        ("openvino", "fp32", 1e-4),
        ("openvino", "bf16", 3e-2),
        ("openvino", "int8", 4e-1),
        ("onnxruntime", "fp32", 1e-4),
    )
]


def _images(count: int, size: tuple[int, int] = (64, 96)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, *size, generator=generator) for _ in range(count)]
    return [image.contiguous(memory_format=torch.channels_last) for image in images]


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("engine", "tolerance"), ENGINES)
@torch.inference_mode()
def test_logits_are_those_of_torch_in_float32(method, engine, tolerance):
    torch.manual_seed(0)
    network = inference_form(METHODS[method]())
    images = _images(4)
    fast = accelerate(network, engine, 1, images)
    for image in (images[0], *_images(1, (48, 80))):
        for expected, found in zip(run_cycle(network, image, 3), run_cycle(fast, image, 3), strict=True):
            assert found.dtype == torch.float32
            assert found.shape == expected.shape
            error = (found - expected).norm() / expected.norm()
            assert error < tolerance
    assert all("features" not in vars(net) for net in feature_networks(network)), "the network given stays as it is"


@pytest.mark.parametrize(("engine", "tolerance"), ENGINES)
@torch.inference_mode()
def test_streams_of_a_batch_are_what_they_are_alone(engine, tolerance):
    torch.manual_seed(0)
    images = _images(4)
    fast = accelerate(inference_form(METHODS["arseg"]()), engine, 1, images)
    alone = [run_cycle(fast, image, 3) for image in images[:2]]
    together = run_cycle(fast, torch.cat(images[:2]), 3)
    for expected, found in zip(zip(*alone, strict=True), together, strict=True):
        torch.testing.assert_close(found, torch.cat(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("engine", "tolerance"), ENGINES)
@torch.inference_mode()
def test_a_state_outlives_the_frames_after_it(engine, tolerance):
    """A backend that handed out its own buffers would overwrite the features of an earlier keyframe."""
    images = _images(4)
    fast = accelerate(inference_form(METHODS["arseg"]()), engine, 1, images)
    _, state = fast.step(FrameInput(images[0]), fast.init_state())
    kept = state.features.clone()
    for image in images[1:]:
        fast.step(FrameInput(image), fast.init_state())
    assert torch.equal(state.features, kept)


def test_comparisons_run_on_the_same_engine():
    fast = accelerate(inference_form(METHODS["arseg"]()), Engine("torch", "bf16"), 1)
    for other in fast.comparisons():
        assert all("features" in vars(net) for net in feature_networks(other))


def test_what_does_not_run_is_rejected_before_any_work(tmp_path):
    for backend, precision, device, expected in (
        ("torchs", "fp32", "cpu", "backend=torchs is not one of auto, torch"),
        ("torch", "fp8", "cpu", "precision=fp8 is not one of"),
        ("torch", "fp16", "cpu", "precision=fp16 does not run on cpu"),
        ("torch", "int8", "cpu", "backend=torch precision=int8 does not run on cpu"),
        ("onnxruntime", "fp32", "cuda", "does not run on cuda" if importlib.util.find_spec("onnxruntime") else "needs"),
    ):
        with pytest.raises(UserError, match=expected):
            candidates(backend, precision, device)
    with pytest.raises(UserError, match="precision=fp16"):
        load_segmenter(save_checkpoint(tmp_path / "net.ckpt", AR), "cpu", 1, precision="fp16")


def test_a_network_that_a_backend_cannot_run_stays_in_torch(monkeypatch):
    network, images = inference_form(METHODS["single"]()), _images(1)

    def fails(part, engine):
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr("src.inference.engine.torch_part.torch_part", fails)
    assert tune(network, "torch", "auto", images, 1).engine == PLAIN
    with pytest.raises(UserError, match=r"torch bf16 cannot run constant .RuntimeError: no such operator.; give"):
        tune(network, "torch", "bf16", images, 1)


def test_a_remembered_engine_is_left_where_its_labels_do_not_suit(monkeypatch):
    network, images, share = inference_form(METHODS["single"]()), _images(1), [1.0]
    monkeypatch.setattr(choose, "_time", lambda net, image: 1.0 if "features" in vars(net.net) else 2.0)
    monkeypatch.setattr(choose, "_share", lambda expected, found: share[0])
    assert tune(network, "torch", "auto", images, 1).engine == Engine("torch", "bf16")
    share[0] = 0.5
    assert tune(network, "torch", "auto", images, 1).engine == PLAIN


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [e.backend for e in candidates("auto", "auto", "cpu")] == ["torch", "torch"]
    with pytest.raises(
        UserError, match=r"backend=openvino precision=fp32 needs the package openvino; pip install -e .\[export\]"
    ):
        candidates("openvino", "fp32", "cpu")


def test_the_fastest_is_chosen_and_remembered(monkeypatch, tmp_path):
    network, images = inference_form(METHODS["single"]()), _images(1)
    monkeypatch.setattr(choose, "_share", lambda expected, found: 1.0)
    monkeypatch.setattr(choose, "_time", lambda net, image: 1.0 if "features" in vars(net.net) else 2.0)
    tuned = tune(network, "torch", "auto", images, 1)
    assert tuned.engine == Engine("torch", "bf16")
    assert tuned.milliseconds == {"torch fp32": 2000.0, "torch bf16": 1000.0}
    again = tune(network, "torch", "auto", images, 1)
    assert (again.engine, list(again.milliseconds)) == (tuned.engine, ["torch bf16"])
    assert tune(network, "torch", "auto", _images(1, (32, 32)), 1).milliseconds == tuned.milliseconds, "another size"
    file = tmp_path / "home" / "compressed-video-segmentation" / "engines.json"
    assert list(json.loads(file.read_text()).values()) == ["torch bf16"] * 2
    file.write_bytes(b"\0 torn")
    assert tune(network, "torch", "auto", images, 1).milliseconds == tuned.milliseconds


def test_engines_are_compared_no_longer_than_the_video_takes(monkeypatch, tmp_path):
    network, images = inference_form(METHODS["single"]()), _images(1)
    monkeypatch.setattr(choose, "_share", lambda expected, found: 1.0)
    monkeypatch.setattr(choose, "_time", lambda net, image: 1.0 if "features" in vars(net.net) else 2.0)
    now = iter(range(0, 1000, 5))
    monkeypatch.setattr(choose.time, "perf_counter", lambda: next(now))  # each engine takes 5 seconds
    file = tmp_path / "home" / "compressed-video-segmentation" / "engines.json"
    short = tune(network, "torch", "auto", images, 1, frames=4)
    assert (short.engine, short.milliseconds) == (PLAIN, {"torch fp32": 2000.0}), "four frames take four seconds"
    assert not file.exists(), "the other might be faster for longer videos"
    long = tune(network, "torch", "auto", images, 1, frames=11)
    assert (long.engine, len(long.milliseconds)) == (Engine("torch", "bf16"), 2)
    assert file.exists()


def test_lower_precision_that_changes_labels_is_not_chosen_by_itself(monkeypatch):
    network, images = inference_form(METHODS["single"]()), _images(1)
    monkeypatch.setattr(choose, "_time", lambda net, image: 1.0 if "features" in vars(net.net) else 2.0)
    monkeypatch.setattr(choose, "_share", lambda expected, found: 0.98)
    assert tune(network, "torch", "auto", images, 1).engine == PLAIN


def test_the_first_video_decides_what_a_segmenter_runs_on(tmp_path):
    video = exact_film(tmp_path / "video.mp4", 8, gop=8)
    checkpoint = save_checkpoint(tmp_path / "net.ckpt", AR)
    plain = [frame.labels for frame in load_segmenter(checkpoint, "cpu", 1).run(video)]
    segmenter = load_segmenter(checkpoint, "cpu", 1, "torch", "bf16")
    found = [frame.labels for frame in segmenter.run(video)]
    assert segmenter.runner.engine == Engine("torch", "bf16")
    assert all((a == b).mean() > 0.95 for a, b in zip(plain, found, strict=True))


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.slow
def test_a_process_whose_openvino_networks_are_gone_survives_signals():
    """OpenVINO's cores set stacks for signals on CPUs with AMX: one that is deleted must not leave its stack behind."""
    code = """
import gc, os, signal, torch
from src.inference.engine.options import Engine
from src.inference.engine.parts import accelerate
from src.models.deploy.inference_form import inference_form
from src.models.video import SingleFrame, run_cycle
from tests.support.tiny_runner import TinySegmenter

image = torch.randn(1, 3, 32, 32)
for precision in ("fp32", "int8", "bf16"):
    net = inference_form(SingleFrame(TinySegmenter()))
    run_cycle(accelerate(net, Engine("openvino", precision), 1, [image]), image, 2)
    del net
    gc.collect()
seen = []
signal.signal(signal.SIGCHLD, lambda number, frame: seen.append(number))
for _ in range(10):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
print("signals", bool(seen))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["signals True"]), done.stderr[-2000:]
