"""Charts as SVG that takes its colours and its font from the page that it stands in."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = 8  # of systems, which the style sheet defines for light and for dark
MARKS = "osD^vP*X"
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
INK, MUTED, GRID = "#010101", "#010102", "#010103"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule"}
VARIABLES |= {f"#02020{number}": f"--c{number + 1}" for number in range(COLOURS)}
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "page",
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 1.8,
}
LONGEST = 44  # characters of a text
WIDTH = 5.8  # inches of a chart in a column


@dataclass(frozen=True)
class Point:
    """A value, with its spread or interval if `low` and `high` are given, and what a pointer on it shows."""

    x: float
    y: float
    tip: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one name, joined by a curve; `colour` counts from 0, None for a quiet curve without marks."""

    name: str
    colour: int | None
    points: Sequence[Point]
    label: str = ""  # beside each point


def curves(
    series: Sequence[Series],
    title: str,
    x_label: str,
    y_label: str,
    *,
    logarithmic: bool = False,
    marks: bool = True,
    height: float = 3.7,
) -> str:
    """Return the SVG of curves in a plane.

    Args:
        series: one curve or cloud each.
        title: for people who cannot see it.
        x_label: of the axis.
        y_label: of the axis.
        logarithmic: the x axis.
        marks: draw the points too.
        height: in inches; the width is `WIDTH`.
    """
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        tips: list[str] = []
        known = [point.x for one in series for point in one.points]
        middle = (math.sqrt(min(known) * max(known)) if logarithmic else (min(known) + max(known)) / 2) if known else 0
        labels = _Labels(series, logarithmic)
        for one in series:
            _draw(axes, one, marks, tips, middle, labels)
        if logarithmic and min(known, default=0) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
            axes.tick_params(axis="x", which="minor", labelcolor=MUTED)
        axes.margins(0.08 if marks else 0.02, 0.12)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.grid(visible=True, axis="y")
        if not any(one.label for one in series) and len(series) > 1:
            _legend(figure, [one.name for one in series])
        return _svg(figure, title, tips)


class _Labels:
    """Counts labels at nearly the same place, which are stacked.

    Args:
        series: all of a chart.
        logarithmic: the x axis.
    """

    def __init__(self, series: Sequence[Series], logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        axes = zip(*(self._place(point) for one in series for point in one.points), strict=True)
        self._reach = [share * (max(axis) - min(axis)) for share, axis in zip((0.1, 0.05), axes, strict=False)]
        self._placed: list[tuple[float, float]] = []

    def below(self, point: Point) -> int:
        """Return how many labels are there already, and add one."""
        place = self._place(point)
        near = [all(abs(a - b) <= r for a, b, r in zip(one, place, self._reach, strict=True)) for one in self._placed]
        self._placed.append(place)
        return sum(near)

    def _place(self, point: Point) -> tuple[float, float]:
        return math.log(point.x) if self._logarithmic and point.x > 0 else point.x, point.y


def _draw(axes: Axes, one: Series, marks: bool, tips: list[str], middle: float, labels: _Labels) -> None:
    x, y = [point.x for point in one.points], [point.y for point in one.points]
    if one.colour is None:
        axes.plot(x, y, color=MUTED, linewidth=1, alpha=0.6)
        return
    colour, mark = f"#02020{one.colour % COLOURS}", MARKS[one.colour % len(MARKS)]
    dash = DASHES[one.colour // COLOURS % len(DASHES)]
    size = 6 if marks else 0
    axes.plot(x, y, label=_text(one.name), color=colour, linestyle=dash, marker=mark, markersize=size)
    for point in one.points:
        if point.low is not None and point.high is not None:
            axes.vlines(point.x, point.low, point.high, color=colour, linewidth=1.4, alpha=0.75)
        if marks:  # wide and clear, for the pointer
            axes.plot([point.x], [point.y], color=colour, marker="o", markersize=13, alpha=0, gid=_tip(point.tip, tips))
        if one.label:
            up = 5 + 13 * labels.below(point)
            side: Any = {"ha": "right", "xytext": (-8, up)} if point.x > middle else {"xytext": (8, up)}
            axes.annotate(_text(one.label), (point.x, point.y), fontsize=10, textcoords="offset points", **side)


def intervals(
    rows: Sequence[tuple[str, Sequence[Point | None]]],
    title: str,
    x_label: str,
    *,
    zero: bool = False,
    names: Sequence[str] = (),
) -> str:
    """Return the SVG of rows of points on one axis, `low` and `high` drawn as a line.

    Args:
        rows: a name each, and points, which have the colours in their order.
        title: for people who cannot see it.
        x_label: of the axis.
        zero: mark where x is 0.
        names: of the points of each row, in their order, for a legend.
    """
    with rc_context(STYLE):  # type: ignore[arg-type]
        legend = 0.28 * (1 + len(names) // 4) if names else 0
        figure = Figure(figsize=(WIDTH, 0.8 + 0.32 * len(rows) + legend), layout="constrained")
        axes = figure.subplots()
        tips: list[str] = []
        for number, name in enumerate(names):
            look = {"color": f"#02020{number % COLOURS}", "marker": MARKS[number % len(MARKS)], "linestyle": "none"}
            axes.plot([], [], label=_text(name), **look)  # type: ignore[arg-type]
        if names:
            _legend(figure, names)
        if zero:
            axes.axvline(0, color=MUTED, linewidth=1)
        for place, (_, points) in enumerate(rows):
            for number, point in enumerate(points):
                if point is None:
                    continue
                colour = f"#02020{number % COLOURS}"
                if point.low is not None and point.high is not None:
                    axes.hlines(place, point.low, point.high, color=colour, linewidth=2.4, alpha=0.6)
                mark = MARKS[number % len(MARKS)]
                axes.plot([point.x], [place], color=colour, marker=mark, gid=_tip(point.tip, tips))
        axes.set_yticks(range(len(rows)), [_text(name) for name, _ in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(x_label)
        axes.grid(visible=True, axis="x")
        axes.spines["left"].set_visible(False)
        return _svg(figure, title, tips)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    columns = max(1, min(len(names), int(84 / (6 + max(map(len, names))))))
    figure.legend(loc="outside lower left", ncols=columns, handlelength=1.6, columnspacing=1.4)


def _text(text: str) -> str:
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return text.lstrip("_").replace("$", r"\$")  # no formula; names after an underscore have no place in legends


def _tip(text: str, tips: list[str]) -> str:
    tips.append(text)
    return f"tip-{len(tips) - 1}-"


def _svg(figure: Figure, title: str, tips: Sequence[str]) -> str:
    """Return a figure as an element of HTML: colours are variables of the page, points show their tips."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    for number, tip in reversed(list(enumerate(tips))):
        text = text.replace(f'<g id="tip-{number}-">', f"<g><title>{escape(tip)}</title>")
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    text = re.sub(r' id="([\w.-]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r"font: ([\w ]*?)([\d.]+px)[^;\"]*", r"font-size: \2", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width = figure.get_figwidth() * 96
    head = f'<svg class="chart" role="img" aria-label="{escape(title)}" style="max-width: {width:.0f}px"'
    text = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', lambda m: f"{head} {m[1]}>", text)
    return re.sub(r">\s+<", "><", text).strip()
