"""The page of results: one file that needs nothing else, with the figures of the files, in two forms."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from src.commands.report import report
from src.errors import UserError
from src.inference.player_record import PlayerRecord
from src.reports.page.charts import Point, Series, curves
from src.reports.page.write import write_page
from src.reports.tables import TitledTable
from src.video.types import Frame
from tests.support.results import HOSTILE, leave, results, row
from tests.support.tiny_runner import CLASSES


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of each table."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.tables[-1][-1][-1] += data


def parse(page: Path) -> Elements:
    elements = Elements()
    elements.feed(page.read_text())
    return elements


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    study = TitledTable("Paper, table 3", ["trial", "mIoU"], [[HOSTILE, "70.1"]])
    write_page(results(folder / "logs"), folder / "out" / "page.html", "val/miou", [0, 1, 2], [(study, ["a line"])])
    return folder / "out" / "page.html"


def test_all_that_the_files_hold_has_its_section(page: Path) -> None:
    text = parse(page).text
    for title in (
        "Accuracy and cost", "Frame by frame", "Differences between systems", "Spread over seeds",
        "Distance to the keyframe", "Classes", "Consistency and boundaries", "Cost and time", "Learning curves",
        "Failed runs", "Ablation: Paper, table 3", "Runs", "mIoU against multiply-adds", "mIoU against time",
        "low: training loss", "low: validation mIoU (%)", "Confusion matrices",
    ):  # fmt: skip
        assert title in text, title


def test_figures_are_those_of_the_files(page: Path) -> None:
    tables = parse(page).tables
    overview = next(t for t in tables if t[0][:2] == ["system", "mIoU (%)"])
    assert overview[1] == [
        "constant 1x (3 seeds)",
        "69.0 ± 1.0",
        "-",
        "67.0",
        "4.00",
        "4.00",
        "4.00",
        "1.000",
        "50.0",
        "torch",
    ]
    assert overview[2] == [
        "AR 0.5x (3 seeds)",
        "67.0 ± 1.0",
        "-",
        "65.0",
        "4.00",
        "1.50",
        "1.50",
        "0.375",
        "20.0",
        "torch",
    ]
    seeds = next(t for t in tables if t[0][:2] == ["system", "seeds"])
    assert seeds[2] == ["AR 0.5x (3 seeds)", "0, 1, 2", "67.00 ± 1.00", "66.00", "68.00"]
    pairs = next(t for t in tables if t[0][:3] == ["run", "system", "minus"])
    assert pairs[1] == ["eval/0", "AR 0.5x", "constant 1x", "-2.00", "-3.10 to -1.00"]
    heat = next(t for t in tables if t[0][:2] == ["", "road"])
    assert heat[1] == ["road", "91", "3", "3", "3"]
    shares = next(t for t in tables if t[0][:2] == ["system", "right"])
    assert shares[2] == ["AR 0.5x", "50.0", "50.0", "50.0", "52.1", "52.1", "52.1"]


def test_the_twin_has_the_same_tables(page: Path) -> None:
    twin = page.with_suffix(".md").read_text()
    lines = [line.strip("| ").replace("\\|", "¦") for line in twin.splitlines() if line.startswith("|")]
    for table in parse(page).tables:
        if not table[0][0]:
            continue  # matrices have more digits there
        for cells in table:
            expected = " | ".join(cells).replace(HOSTILE, HOSTILE.replace("|", "¦")).replace("&", "&amp;")
            assert expected.replace("<", "&lt;").replace(">", "&gt;").strip("| ") in lines
    assert "<" not in twin


def test_texts_of_files_are_text(page: Path) -> None:
    elements = parse(page)
    assert "taken" in elements.text
    tags = [tag for tag, _ in elements.found]
    assert tags.count("img") == 0
    scripts = [given for tag, given in elements.found if tag == "script"]
    assert [given.get("type") for given in scripts] == ["application/json", None]
    data = re.search(r'<script type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert data
    assert json.loads(data[1])["title"] == HOSTILE


def test_the_page_needs_nothing_else(page: Path) -> None:
    elements = parse(page)
    (policy,) = [g["content"] for tag, g in elements.found if tag == "meta" and g.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "script-src 'sha256-" in policy
    for tag, given in elements.found:
        for key in ("src", "href", "xlink:href", "action", "data"):
            assert (given.get(key) or "#").startswith("#"), (tag, given)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page.read_text())


def test_ids_are_unique_where_anything_points_to_them(page: Path) -> None:
    elements = parse(page)
    ids = [given["id"] for _, given in elements.found if given.get("id")]
    targets = {given["href"][1:] for tag, given in elements.found if tag == "a" and given.get("href")}
    assert all(ids.count(target) == 1 for target in targets)
    assert len(targets) > 8


def test_three_hundred_frames_stay_below_thirty_megabytes(tmp_path: Path) -> None:
    """Ten frames that are harder to compress than leaves: noise on each pixel, a thousand patches of classes."""
    rng, names = np.random.default_rng(0), [f"system {n}" for n in range(4)]
    with PlayerRecord(tmp_path / "player.zip", "noise", CLASSES, names, 0, 10) as kept:
        for n in range(10):
            coarse = rng.integers(40, 216, (30, 40, 3), np.uint8).repeat(16, 0).repeat(16, 1)
            image = np.clip(coarse + rng.normal(0, 25, coarse.shape), 0, 255).astype(np.uint8)
            maps = rng.integers(0, len(CLASSES), (5, 30, 40), np.uint8).repeat(16, 1).repeat(16, 2)
            kept.put(Frame(image, "I", None, Fraction(n, 10), n), True, maps[1:], maps[0])
    write_page(tmp_path, tmp_path / "page.html", "val/miou", [0], [])
    assert 30 * (tmp_path / "page.html").stat().st_size < 30e6


def test_results_of_different_data_are_not_compared(tmp_path: Path) -> None:
    leave(tmp_path / "a", "metrics.json", [row("AR", 0.5, 0.6, 1.0)])
    leave(tmp_path / "b", "metrics.json", [row("AR", 0.5, 0.7, 1.0, split="test")])
    write_page(tmp_path, tmp_path / "page.html", "val/miou", [0], [])
    tables = [t for t in parse(tmp_path / "page.html").tables if t[0][:2] == ["system", "mIoU (%)"]]
    assert [[r[1] for r in t[1:]] for t in tables] == [["60.0"], ["70.0"]]


def test_systems_of_one_name_are_told_apart_by_their_runs_and_not_joined(tmp_path: Path) -> None:
    for run, scales in (("one", (0.5, 1.0)), ("other", (0.5,))):
        (tmp_path / "kept" / run).mkdir(parents=True)
        rows = [row("constant", scale, 0.6, 4 * scale, checkpoint=run) for scale in scales]
        (tmp_path / "kept" / run / "metrics.json").write_text(json.dumps(rows))
    write_page(tmp_path / "kept", tmp_path / "page.html", "val/miou", [0], [])
    (table,) = [t for t in parse(tmp_path / "page.html").tables if t[0][:2] == ["system", "mIoU (%)"]]
    assert [r[0] for r in table[1:]] == ["constant 0.5x, one", "constant 1x", "constant 0.5x, other"]


def test_results_of_earlier_versions_are_shown(tmp_path: Path) -> None:
    gmacs = {"key": 4.0, "nonkey": 1.0, "amortised": 2.0}
    old = {"method": "AR", "scale": 0.5, "miou": 0.5, "miou_by_distance": [0.5], "iou": {"sky": 0.9}, "gmacs": gmacs}
    leave(tmp_path / "a", "metrics.json", [old])
    write_page(tmp_path, tmp_path / "page.html", "val/miou", [0], [])
    assert any(t[1:] == [["sky", "90.0"]] for t in parse(tmp_path / "page.html").tables)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"page": "page.txt", "runs": "."}, r"page=page.txt does not end in .html"),
        ({"page": "page.html"}, "runs is not given"),
        ({"page": "page.html", "runs": "nowhere"}, "runs=nowhere holds no results"),
    ],
)
def test_what_cannot_be_shown_is_one_line(given: dict[str, str], message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {"runs": None, "metrics": None, "table": None, "score": "val/miou", "distances": [0]}
    with pytest.raises(UserError, match=message):
        report(OmegaConf.create({**keys, **given}))
    assert not list(tmp_path.iterdir())


def test_charts_take_their_colours_from_the_page() -> None:
    points = [Point(1, 60, "a <tip>", 58, 61), Point(10, 70, "b")]
    svg = curves([Series("A $x", 0, points), Series("B", 9, points)], "title", "x", "y", logarithmic=True)
    assert "<title>a &lt;tip&gt;</title>" in svg
    assert "A $x" in svg
    assert not re.search(r"#[0-9a-f]{6}\b(?![\"')])", svg)
    assert {"var(--c1)", "var(--c2)", "var(--muted)"} <= set(re.findall(r"var\(--\w+\)", svg))
    assert "font-family" not in svg
