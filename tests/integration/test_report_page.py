"""The page of results in a headless Chromium: what a person sees, and reaches by the keyboard alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from src.reports.page.write import write_page
from tests.support.browser import Page, chromium
from tests.support.configs import ROOT
from tests.support.results import HOSTILE, leave, record, results

pytestmark = [pytest.mark.subprocess, pytest.mark.slow]
PLAYER = "document.querySelector('.player')"
FRAMES = 14


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chromium()
    folder = tmp_path_factory.mktemp("results")
    write_page(results(folder / "logs", FRAMES), folder / "page.html", "val/miou", [0, 1, 2], [])
    return folder / "page.html"


@pytest.fixture(scope="module")
def opened(html: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(html, tmp_path_factory.mktemp("profile")) as page:
        page.wait(f"{PLAYER}.dataset.frame === '0'")
        yield page


@pytest.fixture
def page(opened: Page) -> Page:
    """The page at its first frame, with nothing in focus."""
    opened.evaluate("document.activeElement.blur(); players[0].stop(); players[0].show(0)")
    opened.evaluate("document.querySelector('input[value=classes]').click(); document.activeElement.blur()")
    opened.wait(f"{PLAYER}.dataset.frame === '0'")
    return opened


def at(page: Page, frame: int) -> bool:
    page.wait(f"{PLAYER}.dataset.frame === '{frame}'")
    return True


def pixel(page: Page, view: int, x: int, y: int) -> list[int]:
    """RGB of the canvas of a view."""
    canvas = f"document.querySelectorAll('.views canvas')[{view}]"
    found: list[int] = page.evaluate(f"[...{canvas}.getContext('2d').getImageData({x}, {y}, 1, 1).data].slice(0, 3)")
    return found


def test_it_asks_for_nothing_and_fails_nowhere(page: Page, html: Path) -> None:
    page.evaluate("document.querySelector('input[value=errors]').click(); players[0].show(3)")
    assert at(page, 3)
    assert page.requests == [html.resolve().as_uri()]
    assert page.errors == []
    assert page.evaluate("document.title") == "Results: logs"


def test_texts_of_files_are_shown_as_they_are(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('img, main script:not([type])').length") == 0
    assert HOSTILE in page.evaluate("document.querySelector('main').textContent")


def test_keys_move_through_the_frames(page: Page) -> None:
    for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", FRAMES - 1), ("Home", 0)):
        page.press(key)
        assert at(page, frame), key
    page.press("ArrowRight", shift=True)
    assert at(page, 10)
    for key, frame in (("k", 12), ("j", 9), ("j", 6)):  # keyframes
        page.press(key)
        assert at(page, frame), key
    page.press("ArrowLeft", shift=True)
    assert at(page, 0)
    page.press("ArrowLeft")
    assert at(page, 0)


def test_space_plays_and_stops(page: Page) -> None:
    page.press(" ")
    page.wait(f"Number({PLAYER}.dataset.frame) > 2")
    page.press(" ")
    assert page.evaluate("document.querySelector('[data-do=play]').textContent") == "Play"
    assert not page.evaluate("players[0].playing")


def test_all_controls_are_reached_by_tab_and_show_it(page: Page) -> None:
    page.evaluate(f"{PLAYER}.focus()")
    seen: list[Any] = []
    for _ in range(40):
        page.press("Tab")
        seen.append(
            page.evaluate(
                "(() => { const a = document.activeElement, s = getComputedStyle(a.closest('fieldset label') ?? a);"
                " return [a.value || a.textContent, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2,"
                f" {PLAYER}.contains(a)]; }})()"
            )
        )
        if not seen[-1][2]:
            break
    inside = [entry for entry in seen if entry[2]]
    names = [name for name, _, _ in inside]
    for expected in ("classes", "First", "Keyframe before", "Back", "Play", "Forward", "Next keyframe", "Last", "road"):
        assert expected in names, names
    assert all(visible for _, visible, _ in inside), inside


def test_the_slider_and_the_curve_seek(page: Page) -> None:
    page.evaluate("document.querySelector('.seek').focus()")
    page.press("End")
    assert at(page, FRAMES - 1)
    assert "frame" in page.evaluate("document.querySelector('.seek').getAttribute('aria-valuetext')")
    page.evaluate(
        "(() => { const s = document.querySelector('.strip'), a = s.getBoundingClientRect();"
        " const at = {buttons: 1, clientX: a.x + a.width / 2, clientY: a.y};"
        " s.dispatchEvent(new PointerEvent('pointermove', at)); })()"
    )
    assert at(page, FRAMES // 2)


def test_views_show_labels_errors_and_differences(page: Page) -> None:
    """The second system is wrong in the left half; the upper two rows are ignored."""
    names = page.evaluate("[...document.querySelectorAll('.views .name')].map((e) => e.textContent)")
    assert names == ["Input", "Label", "constant 1x", "AR 0.5x"]
    assert "right 50.0 %" in page.evaluate("document.querySelectorAll('.views .figures')[3].textContent")
    wrong, right = pixel(page, 3, 10, 40), pixel(page, 3, 50, 40)
    assert pixel(page, 1, 10, 40) == pixel(page, 2, 10, 40) == right
    assert wrong != right
    page.evaluate("document.querySelector('input[value=errors]').click()")
    red, fine = pixel(page, 3, 10, 40), pixel(page, 3, 50, 40)
    assert red[0] > red[1] + 100
    assert len(set(fine)) == 1, "grey"
    assert pixel(page, 3, 10, 0) == fine, "ignored pixels are no errors"
    assert pixel(page, 2, 10, 40) == fine
    page.evaluate("document.querySelector('input[value=differences]').click()")
    violet = pixel(page, 3, 10, 40)
    assert violet[2] > violet[1] + 100


def test_keyframes_and_motion_are_marked(page: Page) -> None:
    assert page.evaluate(f"{PLAYER}.hasAttribute('data-key')")
    assert page.evaluate("document.querySelectorAll('.strip .key').length") == -(-FRAMES // 3)
    page.press("ArrowRight")
    assert at(page, 1)
    assert not page.evaluate(f"{PLAYER}.hasAttribute('data-key')")
    assert "1 frame after the keyframe" in page.evaluate("document.querySelector('.where').textContent")
    yellow = pixel(page, 0, 10, 8)  # between (12, 8) and (8, 8): the vector of the upper half
    assert yellow[0] > 150
    assert yellow[2] < 130
    page.evaluate("document.querySelector('.motion').click()")
    assert len(set(pixel(page, 0, 10, 8))) == 1
    page.evaluate("document.querySelector('.motion').click()")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (768, True), (1440, False)])
def test_it_fits_every_width_in_light_and_dark(html: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with Page(html, tmp_path / "profile", width, 800, dark) as page:
        page.wait(f"{PLAYER}.dataset.frame === '0'")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(tmp_path / "page.png")
        corner = cv2.imread(str(tmp_path / "page.png"))[-3, 2]
        assert (corner.mean() < 60) == dark
        contrast = page.evaluate(CONTRAST)
        assert contrast >= 4.5


CONTRAST = """(() => {
  const light = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
    .map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
  const card = light(getComputedStyle(document.querySelector('main > section')).backgroundColor);
  return Math.min(...[...document.querySelectorAll('.note, th.left, td.left, .chart text, .keys, h2')].map((e) => {
    const s = getComputedStyle(e), ink = light(e instanceof SVGElement ? s.fill : s.color);
    return (Math.max(ink, card) + 0.05) / (Math.min(ink, card) + 0.05); }));
})()"""


def test_it_prints_without_its_controls(page: Page, tmp_path: Path) -> None:
    page.call("Emulation.setEmulatedMedia", media="print")
    hidden = page.evaluate("['nav', '.bar', '#theme'].map((s) => getComputedStyle(document.querySelector(s)).display)")
    assert hidden == ["none"] * 3
    page.call("Emulation.setEmulatedMedia", media="")
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_a_video_without_labels_has_no_errors_to_show(tmp_path: Path) -> None:
    chromium()
    (tmp_path / "run").mkdir()
    record(tmp_path / "run" / "player.zip", 4, labelled=False)
    write_page(tmp_path, tmp_path / "page.html", "val/miou", [0], [])
    with Page(tmp_path / "page.html", tmp_path / "profile") as page:
        page.wait(f"{PLAYER}.dataset.frame === '0'")
        assert page.evaluate("document.querySelector('input[value=errors]').disabled")
        names = page.evaluate("[...document.querySelectorAll('.views .name')].map((e) => e.textContent)")
        assert names == ["Input", "constant 1x", "AR 0.5x"]
        page.evaluate("document.querySelector('input[value=differences]').click()")
        assert np.ptp(pixel(page, 2, 10, 40)) > 100
        assert page.errors == []


def test_the_command_writes_studies_and_names_of_any_kind(tmp_path: Path) -> None:
    for trial, score in (("none", 0.6), ("mse", 0.7)):
        run = tmp_path / "runs" / trial
        leave(run, "low/done.json", {"epochs": 2, "val/miou": score}, ("study=arseg_fst", f"trial={trial}"))
        (run / "config_resolved.yaml").write_text("model: {phases: {low: {}}}\nvideo: {gop: 12}\n")
    given = [f"runs={tmp_path / 'runs'}", "page=2026 (1).html"]
    command = [sys.executable, "-m", "src.report", *given, f"hydra.run.dir={tmp_path}"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2026 (1).html" in done.stdout
    twin = (tmp_path / "2026 (1).md").read_text()
    assert "| mse | 1 | 70.00 | 70.17 |" in twin
    assert "| mse_and_shared_classifier | 0 | - | 70.48 | 101.89 | 101.98 |" in twin
