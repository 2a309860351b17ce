"""Cost against the figures counted with the official code; `python -m src.report table=cost` shows all of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from src.commands.cost import compare
from src.reports.cost import Reference, cost_table, read_references
from tests.support.configs import ROOT

pytestmark = pytest.mark.slow

REFERENCES = read_references()
MODELS = list(dict.fromkeys(r.model for r in REFERENCES))


def once(model: str) -> list[Reference]:
    """What the file says of a model in its first form: its parameters, and GMACs at the first size."""
    lines = [r for r in REFERENCES if r.model == model]
    options = lines[0].options
    first = next(r.size for r in lines if r.size and r.options == options)
    return [r for r in lines if r.options == options and r.size in (None, first)]


@pytest.mark.parametrize("model", MODELS)
def test_parameters_and_multiply_adds_are_the_official_ones(model, composed, tmp_path):
    composed("benchmark", tmp_path, "network=timm")  # initialises Hydra
    wrong = [(r.quantity, ours, r.expected) for r, ours in compare(once(model)) if not r.agrees(ours)]
    assert wrong == []


def test_options_change_what_is_counted(composed, tmp_path):
    composed("benchmark", tmp_path, "network=timm")
    lines = [r for r in REFERENCES if r.model == "bisenet18" and "num_classes=12" in r.options]
    assert len(lines) >= 4
    assert all(r.agrees(ours) for r, ours in compare(lines))


def test_a_deviation_is_marked_and_counted(composed, tmp_path):
    composed("benchmark", tmp_path, "network=timm")
    parameters, gmacs = once("dfanet_b")[0], once("bisenet18")[0]
    assert parameters.quantity == "gmacs_key"
    wrong = [replace(parameters, value="2.10"), replace(gmacs, value="13425720")]
    *lines, summary = cost_table(compare(wrong))
    assert "| **-3.2" in lines[1]
    assert "| **1** |" in lines[2]
    assert summary.startswith("0 of 2 agree")


def test_agreement_is_to_the_printed_digit():
    line = Reference("m", (), None, "params_train", "5.734M", 0, "", "")
    assert line.agrees(5_734_499)
    assert not line.agrees(5_734_501)
    exact = replace(line, value="100", apart=10)
    assert exact.agrees(90)
    assert not exact.agrees(91)
    rounded = replace(line, quantity="gmacs_key", value="6.9")
    assert rounded.agrees(6.86)
    assert not rounded.agrees(6.84)


@pytest.mark.subprocess
def test_an_unknown_table_is_one_line():
    command = [sys.executable, "-m", "src.report", "table=speed", "metrics=x"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: table=speed is not one of all, results, sweep, cost")
