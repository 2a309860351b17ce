"""Every result below a folder appears in the table of its kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml
from omegaconf import OmegaConf

from src.commands.report import report
from src.errors import UserError
from src.reports.benchmark import plot_benchmarks
from src.reports.collect import benchmarks, collect

ROOT = Path(__file__).parents[3]


def leave(run: Path, overrides: list[str], file: str, content: Any) -> None:
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    (run / file).parent.mkdir(exist_ok=True)
    (run / file).write_text(json.dumps(content))


def evaluation(name: str, miou: float, distances: int) -> dict[str, Any]:
    gmacs = {"key": 4.0, "nonkey": 1.0, "amortised": 2.0}
    scores = [miou] * distances
    return {"method": name, "scale": 0.5, "miou": miou, "miou_by_distance": scores, "iou": {"sky": 0.9}, "gmacs": gmacs}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    sweep = tmp_path / "train_sweeps" / "one"
    for number in range(2):
        run = sweep / str(number)
        leave(run, ["experiment=a", f"seed={number}"], "low/done.json", {"epochs": 2, "val/miou": 0.5 + 0.1 * number})
        phases = {"model": {"phases": {"low": {}}}}
        (run / "config_resolved.yaml").write_text(yaml.safe_dump(phases))
    (sweep / "multirun.yaml").touch()
    leave(sweep / "10", ["experiment=a", "seed=10"], "failed.json", {"overrides": ["seed=10"], "error": "too large"})
    leave(tmp_path / "eval" / "a", ["checkpoint=A"], "metrics.json", [evaluation("AR", 0.512, 4)])
    leave(tmp_path / "eval" / "b", ["checkpoint=B"], "metrics.json", [evaluation("AR", 0.6, 2)])
    result = {"model": "x", "params_train": 20, "params_inference": 10, "gmacs_key": 1.0, "gmacs_nonkey": None}
    result |= {"gmacs_amortised": 1.0, "height": 64, "width": 96}
    leave(tmp_path / "benchmark" / "x", ["model=x"], "metrics/benchmark.json", {"result": result})
    return tmp_path


def test_each_kind_of_run_has_its_table(logs: Path) -> None:
    tables = {table.split("\n")[0]: table for table in collect(logs, "val/miou", [0, 1, 3, 11])}
    training = tables["### Training"].splitlines()
    assert training[-2:] == [
        "| train_sweeps/one/0 | seed=0 | low | 2 | - | - | 0.5000 | - |",
        "| train_sweeps/one/1 | seed=1 | low | 2 | - | - | 0.6000 | - |",
    ]
    assert "| 2 | 0.5500 ± 0.0707 |" in tables["### Sweep train_sweeps/one: val/miou"]
    evaluations = tables["### Evaluation: mIoU (%) by distance to the keyframe"].splitlines()
    assert "d = 3" in evaluations[2]
    assert "d = 11" not in evaluations[2]
    assert evaluations[-2].startswith("| eval/a | checkpoint=A | AR 0.5x | 51.2 | 51.2 | 51.2 | 51.2 |")
    assert evaluations[-1].startswith("| eval/b | checkpoint=B | AR 0.5x | 60.0 | 60.0 | 60.0 | - |")
    assert "| benchmark/x | x | 20 | 10 | 1.00 | - | 1.00 | 64 | 96 |" in tables["### Benchmark: cost per frame"]
    assert "| train_sweeps/one/10 | seed=10 | too large |" in tables["### Failed"]
    assert len(tables) == 5


def test_evaluations_of_several_seeds_are_averaged(tmp_path: Path) -> None:
    for seed, miou in ((0, 0.5), (1, 0.52), (1, 0.52), (2, 0.57)):  # seed 1 was evaluated twice
        row = {**evaluation("AR", miou, 2), "training": {"seed": seed, "recipe": "abc"}}
        other = {**evaluation("AR", 0.9, 2), "training": {"seed": seed + 10, "recipe": f"r{seed}"}}
        older = evaluation("constant", 0.4, 2)
        leave(tmp_path / f"{len(list(tmp_path.iterdir()))}", [], "metrics.json", [row, other, older])
    tables = list(collect(tmp_path, "val/miou", [0, 1, 3]))
    (table,) = [t for t in tables if "over seeds" in t]
    assert table.splitlines()[-1] == "| AR 0.5x | ? | abc | 0, 1, 2 | 53.0 ± 3.6 | 53.0 ± 3.6 | 53.0 ± 3.6 |"
    assert len(table.splitlines()) == 5


def test_differences_have_their_intervals(tmp_path: Path) -> None:
    first, second = evaluation("constant", 0.5, 1), evaluation("AR", 0.48, 1)
    drawn = {"resamples": 9, "block": 2, "blocks": 8, "seed": 0, "interval": [0.4, 0.6]}
    first["bootstrap"] = {**drawn, "differences": []}
    second["bootstrap"] = {**drawn, "differences": [{"miou": -0.02, "interval": [-0.031, 0.004]}]}
    leave(tmp_path / "a", [], "metrics.json", [first, second])
    (table,) = [t for t in collect(tmp_path, "val/miou", [0]) if "differences" in t]
    assert table.splitlines()[-1] == "| a | AR 0.5x | constant 0.5x | -2.00 | -3.10 to +0.40 |"


def test_one_run_is_enough(logs: Path) -> None:
    [table] = collect(logs / "eval" / "a", "val/miou", [0])
    assert "| a |  | AR 0.5x | 51.2 |" in table


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "runs is not given"),
        ({"table": "results"}, "metrics is not given"),
        ({"table": "sweep"}, "runs is not given"),
        ({"runs": "nowhere"}, "holds no done.json"),
        ({"table": "speed"}, "table=speed is not one of all, results, sweep, cost"),
    ],
)
def test_what_cannot_be_reported_is_one_line(given: dict[str, str], message: str) -> None:
    keys = {"runs": None, "metrics": None, "table": None, "score": "val/miou", "distances": [0]}
    with pytest.raises(UserError, match=message):
        report(OmegaConf.create({**keys, **given}))


def test_a_folder_with_videos_alone_is_for_the_page(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "player.zip").touch()
    keys = {"runs": str(tmp_path), "metrics": None, "table": None, "score": "val/miou", "distances": [0]}
    with pytest.raises(UserError, match=r"player\.zip has no tables: give page=report\.html"):
        report(OmegaConf.create(keys))


def test_a_torn_file_is_named(logs: Path) -> None:
    (logs / "eval" / "a" / "metrics.json").write_text("[")
    with pytest.raises(UserError, match=r"a/metrics\.json' cannot be read"):
        list(collect(logs, "val/miou", [0]))


def test_benchmarks_are_drawn(tmp_path):
    figure = tmp_path / "figures" / "speed.png"
    plot_benchmarks(benchmarks(ROOT / "docs" / "results" / "speed"), figure)
    height, width, _ = cv2.imread(str(figure)).shape
    assert (height, width) == (750, 1200)
    with pytest.raises(UserError, match=r"end it with .png or .svg"):
        plot_benchmarks(benchmarks(ROOT / "docs" / "results" / "speed"), tmp_path / "speed.doc")
    with pytest.raises(UserError, match="was timed"):
        plot_benchmarks([], figure)
