"""A study's table: rows in the order of its file, missing runs, spread, multiply-adds beside the published."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from src.cli.studies import with_trials
from src.errors import UserError
from src.reports.study import parse_study, read_study, wandb_sweep
from src.reports.study_table import curve_lines, mean_differences, read_study_runs, study_table
from src.reports.sweep import failures
from tests.support.configs import CONF, Compose
from tests.unit.reports.test_sweep import leave

STUDY = {
    "title": "a table",
    "command": "train",
    "overrides": ["experiment=arseg_camvid"],
    "trials": {
        "one": {"overrides": ["model.lr_scale=0.5"], "published": {"low": {"miou": 70.5}}},
        "two": {"overrides": ["model.lr_scale=0.7"], "published": {"low": {}}},
    },
}


def test_rows_are_trials_beside_published_figures(tmp_path: Path) -> None:
    leave(tmp_path, "0", ["study=mine", "trial=one", "seed=0"], 0.60)
    leave(tmp_path, "a/1", ["study=mine", "trial=one", "seed=1"], 0.64)
    leave(tmp_path, "2", ["study=mine", "trial=two"], None, "too large")
    leave(tmp_path, "3", ["study=other", "trial=two"], 0.9)
    leave(tmp_path, "4", ["checkpoint=NET.ckpt"], None)
    (tmp_path / "4" / "config_resolved.yaml").write_text("checkpoint: NET.ckpt\n")
    study = parse_study("mine", STUDY)
    runs = read_study_runs(study, tmp_path, "val/miou")
    assert list(study_table(study, runs, {("two", "low"): 12.0})) == [
        ["trial", "runs", "mIoU", "published", "GMACs", "published"],
        ["one", "2", "62.00 \u00b1 2.83", "70.50", "-", "?"],
        ["two", "0", "-", "?", "12.00", "?"],
    ]
    assert [line.rpartition(": ")[2] for line in failures([trial for trial, _ in runs])] == ["too large"]


def test_an_evaluation_of_a_training_joins_its_row(tmp_path: Path) -> None:
    leave(tmp_path, "sweep/0", ["study=mine", "trial=one"], 0.60)
    leave(tmp_path, "eval", ["checkpoint=last.ckpt"], None)
    low = str(tmp_path / "sweep" / "0" / "low" / "checkpoints" / "last.ckpt")
    scores = {"constant": 0.7, "AR": 0.55}  # comparisons come before the network itself
    rows = [
        {"method": m, "checkpoint": low, "miou": v, "miou_by_distance": [v], "gmacs": {"amortised": 1.0}}
        for m, v in scores.items()
    ]
    (tmp_path / "eval" / "metrics.json").write_text(json.dumps(rows))
    study = parse_study("mine", STUDY)
    head, first, second = study_table(study, read_study_runs(study, tmp_path, "val/miou"), {})
    assert head == ["trial", "runs", "mIoU of src.eval", "mIoU", "published"]
    assert [first, second] == [["one", "1", "55.00", "60.00", "70.50"], ["two", "0", "-", "-", "?"]]


def test_a_sweep_of_wandb_has_the_trials_of_a_study() -> None:
    sweep = wandb_sweep(parse_study("mine", STUDY))
    assert sweep["parameters"] == {"trial": {"values": ["one", "two"]}}
    assert "study=mine" in sweep["command"]
    with pytest.raises(UserError, match=r"one of src.eval, which logs nothing"):
        wandb_sweep(parse_study("mine", STUDY | {"command": "eval"}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study=arseg_lr_scal"], "did you mean 'arseg_lr_scale'"),
        (["study=arseg_lr_scale"], "give trial=NAME, one of scale_0.3,scale_0.4"),
        (["trial=scale_0.3"], "give study=NAME, too"),
        (["study=arseg_gop", "trial=gop_12"], "is one of src.eval, not of src.train"),
        (["--multirun", "study=arseg_gop,arseg_codecs"], "is unknown"),
    ],
)
def test_what_is_no_study_or_trial_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_trials("train", arguments, CONF)


def test_a_multirun_gets_all_trials_and_a_study_may_be_of_the_user(composed: Compose, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text(
        "title: mine\ncommand: train\noverrides: [experiment=arseg_street]\ntrials:\n"
        "  b: {overrides: [network=bisenet18, model.phases.constant=null], published: {low: {}}}\n"
        "  a: {published: {low: {}}}\n"
    )
    folder = f"hydra.searchpath=[file://{tmp_path}]"
    assert with_trials("train", ["--multirun", folder, "study=mine"], CONF)[-1] == "trial=b,a"
    config = composed("train", tmp_path, folder, "study=mine", "trial=b", "model.lr_scale=0.3")
    assert (config.network.name, config.model.phases.constant, config.model.lr_scale) == ("bisenet", None, 0.3)
    assert (config.study, config.trial, config.data.source._target_.rsplit(".", 1)[1]) == ("mine", "b", "Street")


def test_a_file_that_is_no_study_is_refused() -> None:
    with pytest.raises(UserError, match="study=mine lacks title"):
        parse_study("mine", {key: value for key, value in STUDY.items() if key != "title"})
    with pytest.raises(UserError, match=r"trials\.one\.published\.low\.mioo is none of"):
        parse_study("mine", STUDY | {"trials": {"one": {"published": {"low": {"mioo": 1.0}}}}})
    with pytest.raises(UserError, match=r"curves=\['a'\] are not two results"):
        parse_study("mine", STUDY | {"curves": ["a"]})


@pytest.mark.parametrize(
    "change",
    [
        {"trials": ["one"]},
        {"trials": {"one": {"published": None}}},
        {"trials": {"one": {"published": {"low": "high"}}}},
        {"trials": {"one": {"published": {"low": {"miou": "high"}}}}},
        {"size": [1024]},
        {"size": "large"},
        {"overrides": 3},
    ],
)
def test_a_part_of_another_kind_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="study=mine is not built as the files of conf/study"):
        parse_study("mine", STUDY | change)


def test_mean_differences_of_curves() -> None:
    anchor = [(10.0 * 2**k, 60.0 + 3 * k) for k in range(5)]
    higher = [(gmacs, miou + 2) for gmacs, miou in anchor]
    cheaper = [(gmacs / 4, miou) for gmacs, miou in anchor]
    assert mean_differences(higher, anchor)[0] == pytest.approx(2)
    assert mean_differences(cheaper, anchor)[1] == pytest.approx(-75)
    far = [(gmacs, miou + 20) for gmacs, miou in anchor]
    assert mean_differences(far, anchor) == (pytest.approx(20), pytest.approx(math.nan, nan_ok=True))
    study = read_study(CONF / "study" / "arseg_lr_scale.yaml")
    [line] = curve_lines(study, [], {})
    assert line.startswith("published, low against constant: +")
    assert float(line.split("GMACs, ")[1].split(" %")[0]) == pytest.approx(-76.73, abs=1), "as the paper has it"


def test_curves_without_a_common_range_are_compared_along_the_other() -> None:
    trials = {
        f"t{k}": {"published": {"a": {"miou": 80 + k, "gmacs": 10 * 2**k}, "b": {"miou": 60 + k, "gmacs": 10 * 2**k}}}
        for k in range(5)
    }
    study = parse_study("mine", {"title": "curves", "command": "train", "curves": ["a", "b"], "trials": trials})
    [line] = curve_lines(study, [], {})
    assert line == "published, a against b: +20.00 mIoU at the same GMACs, no mIoU in common"
