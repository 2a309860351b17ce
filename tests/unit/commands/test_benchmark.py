"""What is counted, and the command's last line; test_cost_table.py holds counts against references."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from src.benchmarking.latency import means, ratio, statistics
from src.commands.benchmark import benchmark, build, count
from src.commands.cost import _choices
from src.errors import UserError
from src.models.deploy.inference_form import inference_form
from src.models.video import run_cycle
from src.reports.benchmark import OF_VIDEO, TIMES, WARPED, benchmark_table
from src.video.types import CodecSettings
from src.video.writing.encode import encode
from tests.support.videos import pan

pytestmark = pytest.mark.slow


def counted(config):
    return count(build(config, torch.device("meta")), (64, 64), config.video.gop)


def test_arseg_counts_both_branches_and_the_shared_classifier_once(composed, tmp_path):
    alone = counted(composed("benchmark", tmp_path, "network=pspnet18_camvid"))["params_inference"]
    classifier, fusion = 64 * 12 + 12, 30 * 64  # three depthwise convolutions with bias
    both = counted(composed("benchmark", tmp_path, "model=arseg", "network=pspnet18_camvid"))
    assert both["params_inference"] == 2 * alone - classifier + fusion
    assert both["gop"] == 12


@pytest.mark.parametrize(
    "name", ["timm", "arseg_bisenet18", "accel_bisenet18", "tdnet_td2_fa18", "rdrnet_s_simple", "dfanet_b", "pidnet_s"]
)
@torch.inference_mode()
def test_folding_keeps_the_outputs(name, composed, tmp_path):
    composed("benchmark", tmp_path, "network=timm")  # initialises Hydra
    net = build(composed("benchmark", tmp_path, *_choices(name)), torch.device("cpu"))
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.8, 1.2)
    picture = torch.randn(1, 3, 64, 96)
    before = run_cycle(net, picture)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    fast = inference_form(net)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in fast.modules()) < norms * 2 / 3
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == norms, "the network itself stays"
    for found, expected in zip(run_cycle(fast, picture), before, strict=True):
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_the_last_line_is_the_result_and_the_file_holds_it(composed, tmp_path, capsys):
    config = composed(
        "benchmark",
        tmp_path,
        "network=bisenet18",
        "input.height=64",
        "input.width=96",
        "rounds=2",
        "warmup=1",
        "threads=1",
    )
    benchmark(config)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((tmp_path / "metrics" / "benchmark.json").read_text())["result"] == result
    assert (result["model"], result["height"], result["width"], result["gop"]) == ("bisenet18", 64, 96, 1)
    assert result["gmacs_nonkey"] is None
    assert result["latency"]["milliseconds"]["network"]["amortised"]["median"] > 0
    assert result["latency"]["threads"] == 1


def test_arseg_is_timed_beside_its_own_high_branch(composed, tmp_path):
    net = build(composed("benchmark", tmp_path, "model=arseg", "network=timm"), torch.device("meta"))
    constant = net.comparisons()[0]
    assert constant.net is net.high
    assert (net.cycle(4).kinds, constant.cycle(4).kinds) == (("key", "nonkey", "nonkey", "nonkey"), ("key",))


def test_a_film_adds_decoding_and_motion(composed, tmp_path, capsys):
    film = tmp_path / "film.mp4"
    encode(pan(8, 64, 96, (2, 1)), film, CodecSettings("h264", 4, 15, crf=23))
    given = ["model=arseg", "network=timm", f"film={film}", "video.gop=4", "threads=1"]
    result = benchmark(composed("benchmark", tmp_path, *given))
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert (result["height"], result["width"]) == (64, 96)
    times = result["latency"]["milliseconds"]
    assert set(times) == {"decode", "motion", "network", "total"}
    assert times["motion"]["nonkey"]["median"] > 0
    constant = result["latency"]["constant_milliseconds"]
    assert constant["network"]["nonkey"] is None
    assert set(result["latency"]["ratio_to_constant"]) == {"network", "total"}
    pipelined = result["latency"]["pipelined"]
    assert pipelined["milliseconds"] > 0
    assert pipelined["ratio_to_constant"] > 0


def test_a_film_within_a_budget(composed, tmp_path):
    film = tmp_path / "film.mp4"
    encode(pan(8, 64, 96, (2, 1)), film, CodecSettings("h264", 8, 15, crf=23))
    given = ["model=arseg", "network=timm", f"film={film}", "video.gop=4", "threads=1"]
    fixed = benchmark(composed("benchmark", tmp_path / "fixed", *given))
    budget = f"budget={0.6 * fixed['gmacs_key']}"
    result = benchmark(composed("benchmark", tmp_path / "uniform", *given, "policy=uniform", budget))
    latency = result["latency"]
    assert latency["spending"]["frames"] == {"key": 3, "warp": 5}
    assert latency["spending"]["mean"] == pytest.approx(result["gmacs_amortised"], abs=1e-4)
    assert result["gmacs_amortised"] < fixed["gmacs_key"]
    assert result["model"].startswith("arseg_timm uniform 0.")
    network = latency["milliseconds"]["network"]
    assert network["nonkey"] is None
    assert 0 < network["warp"]["median"] < network["key"]["median"]
    head, rows = benchmark_table([fixed, result])
    assert head[-5:] == [*WARPED, *OF_VIDEO]
    assert rows[0][-5] == "-" != rows[1][-5]


@pytest.mark.parametrize("model", ["arseg", "dff"])
def test_a_film_within_a_budget_of_time(model, composed, tmp_path):
    film = tmp_path / "film.mp4"
    encode(pan(12, 64, 96, (2, 1)), film, CodecSettings("h264", 12, 15, crf=23))
    given = [f"model={model}", "network=bisenet18", f"film={film}", "video.gop=4", "threads=1", "policy=uniform"]
    result = benchmark(composed("benchmark", tmp_path, *given, "budget=1000ms"))
    spending = result["latency"]["spending"]
    frames = spending["frames"]
    assert (spending["unit"], sum(frames.values()), set(frames)) == ("ms", 12, {"key", "warp"})
    keyframes = frames["key"] * result["gmacs_key"] / 12
    assert keyframes < result["gmacs_amortised"] == spending["gmacs"] < 1.1 * keyframes
    assert 0 < spending["mean"] < 1000
    assert result["latency"]["pipelined"]["milliseconds"] > 0


def test_backends_are_timed_in_rounds_with_the_constant_network(composed, tmp_path):
    size = ["input.height=64", "input.width=96", "rounds=1", "warmup=1", "threads=1", "video.gop=3"]
    result = benchmark(composed("benchmark", tmp_path, "model=arseg", "network=timm", "precision=bf16", *size))
    latency = result["latency"]
    assert (latency["backend"], latency["precision"]) == ("torch", "bf16")
    assert latency["peak_memory_mb"] > 50
    assert benchmark_table([result])[1][0][8] == "torch bf16"


def test_statistics_of_rounds():
    rounds = [[("key", 10.0), ("nonkey", 4.0)], [("key", 12.0), ("nonkey", 2.0)]]
    found = statistics(rounds, ("key", "nonkey"))
    assert found["key"] == {"median": 11.0, "p95": 11.9, "p99": 11.98}
    assert found["nonkey"]["median"] == 3.0
    assert found["amortised"] == {"median": 7.0, "p95": 7.0, "p99": 7.0}
    assert statistics([[("key", 1.0)]], ("key",))["nonkey"] is None
    assert ratio(means(rounds, ("key", "nonkey")), [14.0, 14.0]) == 0.5


def test_sweep_table_has_a_line_per_result():
    row = {"model": "x", "params_train": 2, "params_inference": 1, "gmacs_key": 1.0, "gmacs_nonkey": None}
    row |= {"gmacs_amortised": 1.0, "height": 64, "width": 96}
    head, rows = benchmark_table([row, row])
    assert len(rows) == 2
    assert rows[0] == ["x", "2", "1", "1.00", "-", "1.00", "64", "96"]
    assert len(head) == 8


def test_the_table_of_a_video_shows_its_pipelined_times():
    times = {"median": 2.0, "p99": 3.0}
    network = {"key": times, "nonkey": None, "amortised": times}
    timed = {"model": "x", "latency": {"milliseconds": {"network": network}, "backend": "torch", "precision": "bf16"}}
    of_video = {**timed["latency"], "pipelined": {"milliseconds": 5.0, "ratio_to_constant": 0.5}}
    head, rows = benchmark_table([timed, {"model": "y", "latency": of_video}])
    assert head[8:] == [*TIMES, *OF_VIDEO]
    assert rows[0][8:] == ["torch bf16", "-", "2.00", "2.00", "3.00", "-", "-", "-", "-", "-", "-", "-"]
    assert rows[1][-3:] == ["-", "5.00", "0.50"]


@pytest.mark.parametrize(
    "wrong",
    [
        "input.height=0",
        "input.width=96.5",
        "input.width=99999",
        "num_classes=0",
        "video.gop=1",
        "rounds=0",
        "threads=0",
    ],
)
def test_values_out_of_range_are_named(wrong, composed, tmp_path):
    with pytest.raises(UserError, match=wrong):
        benchmark(composed("benchmark", tmp_path, "network=bisenet18", wrong))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["policy=uniform"], "policy=uniform with budget=null: a budget belongs to"),
        (["budget=2"], "policy=fixed with budget=2: a budget belongs to"),
        (["policy=uniform", "budget=2"], "policy=uniform is for videos; give film=VIDEO"),
        (["policy=stream"], "policy=stream is not one of"),
        (["policy=uniform", "budget=2", "film=video.mp4"], "give AR-Seg or DFF, or leave out what you gave of policy="),
    ],
)
def test_policies_that_cannot_be_kept_are_refused(given, message, composed, tmp_path):
    with pytest.raises(UserError, match=message):
        benchmark(composed("benchmark", tmp_path, "network=bisenet18", *given))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("model", "network"), [("tdnet", "pspnet18"), ("image", "td2_fa18")])
def test_a_network_that_the_model_does_not_run_is_refused(model, network, composed, tmp_path):
    with pytest.raises(UserError, match=f"model={model} does not take network={network}"):
        benchmark(composed("benchmark", tmp_path, f"model={model}", f"network={network}", "latency=false"))
