"""The tables of docs/results.md are those that its stored metrics print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from src.reports.collect import collect
from src.reports.evaluation import read_results, results_markdown

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "results.md"
TABLE = re.compile(r"<!-- table: (?P<path>\S+) -->\n(?P<table>.*?)\n<!-- end -->", re.DOTALL)


def tables() -> dict[str, str]:
    return {found["path"]: found["table"] for found in TABLE.finditer(DOCUMENT.read_text())}


def test_each_stored_file_has_its_table_and_each_table_its_file() -> None:
    results = ROOT / "docs" / "results"
    found = [*results.rglob("metrics.json"), *{path.parents[1] for path in results.rglob("benchmark.json")}]
    stored = {path.relative_to(ROOT).as_posix() for path in found}
    assert set(tables()) == stored
    assert stored


@pytest.mark.parametrize("path", tables())
def test_a_generated_table_is_what_its_file_prints(path: str) -> None:
    if path.endswith(".json"):
        expected = results_markdown(read_results(ROOT / path), [0, 1, 3, 6, 11])
    else:
        (report,) = collect(ROOT / path, "val/miou", [])
        expected = report.split("\n\n", 1)[1].rstrip()
    assert tables()[path] == expected
