"""The parts of a page: tables and charts of the results below a folder."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from src.files import read_json, read_yaml
from src.reports.collect import Found, benchmark_tables, failed, find_results, sweeps, trainings
from src.reports.evaluation import (
    DIFFERENCES,
    differences_table,
    is_evaluation,
    read_results,
    row_names,
)
from src.reports.page.charts import Point, Series, curves, intervals
from src.reports.page.systems import RUN, System, systems_of, timed_results
from src.reports.tables import TitledTable, as_cell, as_percent, mean_and_spread, mean_of_known
from src.training.summary import read_curves

MOST = 12  # systems, runs or phases in one chart
MOST_POINTS = 400  # of a curve


@dataclass(frozen=True)
class Chart:
    """A chart and what it shows."""

    title: str
    svg: str


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: percent (K, K) of the pixels of each class, None for classes that never occur.

    Attributes:
        system: its name.
        classes: names.
        shares: rows are labels, columns predictions.
    """

    system: str
    classes: Sequence[str]
    shares: Sequence[Sequence[float | None]]


@dataclass
class Section:
    """A part of the page with a heading of its own."""

    title: str
    note: str = ""
    charts: list[Chart] = field(default_factory=list)
    tables: list[TitledTable] = field(default_factory=list)
    confusions: list[Confusion] = field(default_factory=list)
    systems: list[str] = field(default_factory=list)  # in the order of their colours


def sections(folder: Path, score: str, distances: list[int]) -> Iterator[Section]:
    """Yield the sections of all results below a folder.

    Args:
        folder: holds run directories at any depth.
        score: that sweeps are compared by.
        distances: to the keyframe, whose mIoU is in tables; charts show all.

    Raises:
        UserError: a result that cannot be read.
    """
    groups: dict[str, list[tuple[Found, list[dict[str, Any]]]]] = {}
    for found in find_results(folder, "metrics.json"):
        if is_evaluation(found.path):
            kept = found.path.parent.relative_to(folder)  # results alone, without the rest of a run
            run = found.run if found.run != folder.resolve().name or not kept.name else str(kept)
            rows = [{**row, RUN: run} for row in read_results(found.path)]
            groups.setdefault(_compared(found, rows), []).append((found, rows))
    timed = timed_results(folder)
    for name, members in groups.items():
        common = set.intersection(*(set(other.split(", ")) for other in groups))
        own = ", ".join(part for part in name.split(", ") if part not in common)
        yield from _evaluation(own, name, members, timed, distances)
    yield from _tables("Cost and time", benchmark_tables(folder), _note_on_time(timed))
    yield from _learning(folder)
    yield from _tables("Sweeps over settings and seeds", sweeps(folder, score), f"Score: {score}.")
    yield from _tables("Failed runs", failed(folder))


def _compared(found: Found, rows: list[dict[str, Any]]) -> str:
    """Name what an evaluation was scored on: systems of the same name are compared."""
    first = rows[0]
    path = found.path.parent / "config_evaluated.yaml"
    source, video = "", dict[str, Any]()
    if path.exists():
        config = read_yaml(path)
        source = str(config["data"]["module"]["source"]["_target_"]).rpartition(".")[2]
        video = config.get("video") or {}
    rate = [f"{key} {video[key]}" for key in ("crf", "bitrate") if video.get(key) is not None]
    what = [f"GOP {first['gop']}", *rate] if first.get("codec") else ["still images"] if "gop" in first else []
    parts = [f"{source} {first.get('split', '')}".strip(), str(first.get("codec") or ""), *what]
    parts += [f"{first['frames']:,} scored frames"] if "frames" in first else []
    return ", ".join(part for part in [*parts, f"{len(first['iou'])} classes"] if part)


def _evaluation(
    prefix: str,
    name: str,
    members: Sequence[tuple[Found, list[dict[str, Any]]]],
    timed: Sequence[dict[str, Any]],
    distances: list[int],
) -> Iterator[Section]:
    rows = [row for _, found in members for row in found]
    systems = systems_of(rows, timed)
    shown = systems[:MOST]
    note = f"Scored on {name}." + (f" Charts show the first {MOST} of {len(systems)} systems." * (len(systems) > MOST))
    at = f", {prefix}" if prefix else ""

    cost = Section(f"Accuracy and cost{at}", note)
    cost.charts.append(_against(shown, "multiply-adds", "GMACs per frame, amortised", lambda s: s.gmacs))
    if any(system.ms for system in shown):
        cost.charts.append(_against(shown, "time", "ms per frame, amortised", lambda s: s.ms[0] if s.ms else None))
    else:
        size = f"input.height={rows[0].get('height')} input.width={rows[0].get('width')}"
        cost.note += f" Not timed: no benchmark here has the same multiply-adds (src.benchmark {size})."
    cost.tables.append(_overview(systems))
    cost.systems = [system.name for system in systems]
    yield cost

    pairs = [cells for _, found in members for cells in differences_table(found)]
    if pairs:
        yield _differences(f"Differences between systems{at}", members, pairs)
    seeds = [system for system in systems if len(system.rows) > 1]
    if seeds:
        yield _seeds(f"Spread over seeds{at}", seeds)

    by_distance = Section(f"Distance to the keyframe{at}")
    longest = max(len(row["miou_by_distance"]) for row in rows)
    if longest > 1:
        by_distance.charts.append(Chart("mIoU by distance to the keyframe", _by_distance(shown, longest)))
        asked = [d for d in distances if d < longest]
        table = [[s.name, *(as_percent(s.at(d)) for d in asked)] for s in systems]
        title = "mIoU (%) by distance in frames"
        by_distance.tables.append(TitledTable(title, ["system", *(f"d = {d}" for d in asked)], table))
        yield by_distance

    classes = list(rows[0]["iou"])
    per_class = Section(f"Classes{at}", "Mean over distances. A row of a matrix is what the pixels of a class became.")
    marks = [(c, [_mark(s, c) for s in shown]) for c in classes]
    chart = intervals(marks, "IoU by class", "IoU (%)", names=[s.name for s in shown])
    per_class.charts.append(Chart("IoU by class", chart))
    table = [[c, *(as_percent(s.iou(c)) for s in systems)] for c in classes]
    per_class.tables.append(TitledTable("IoU (%) by class", ["class", *(s.name for s in systems)], table))
    per_class.confusions = [_confusion(s, classes) for s in shown if s.rows[0].get("confusion")]
    yield per_class

    others = _others(systems)
    if others.rows:
        yield Section(f"Consistency and boundaries{at}", "0 to 1, see docs/metrics.md.", tables=[others])


def _note_on_time(timed: Sequence[dict[str, Any]]) -> str:
    hardware = sorted(
        {f"{t['latency'].get('hardware', '?')}, threads: {t['latency'].get('threads', '?')}" for t in timed}
    )
    return f"Medians over rounds; measured on {'; '.join(hardware)}." if hardware else ""


def _against(systems: Sequence[System], name: str, label: str, cost: Callable[[System], float | None]) -> Chart:
    """Draw mIoU against a cost: a point for each system, and curves through the scales of each method.

    Where several systems of a method have one scale, those of one run are joined.
    """
    methods: dict[tuple[str, str], list[Point]] = {}
    scales = [(system.rows[0]["method"], system.rows[0].get("scale")) for system in systems]
    points = []
    for number, system in enumerate(systems):
        value, score = cost(system), system.mean("miou")
        if value is not None and score is not None:
            tip = f"{system.name}: {100 * score:.1f} % at {value:.3g}"
            point = Point(value, 100 * score, tip, *_range(system))
            points.append(Series(system.name, number, [point], system.name))
            row = system.rows[0]
            several = any(scales.count(place) > 1 for place in scales if place[0] == row["method"])
            methods.setdefault((str(row["method"]), row[RUN] if several else ""), []).append(point)
    lines = [Series(key[0], None, sorted(found, key=lambda p: p.x)) for key, found in methods.items() if len(found) > 1]
    drawn = curves([*lines, *points], f"mIoU against {label}", label, "mIoU (%)", logarithmic=True)
    return Chart(f"mIoU against {name}", drawn)


def _range(system: System) -> tuple[float | None, float | None]:
    """Return mean ± standard deviation over seeds in percent; of one seed, the interval of the bootstrap."""
    scores = [100 * row["miou"] for row in system.rows if row["miou"] is not None]
    if len(scores) > 1:
        mean, spread = statistics.mean(scores), statistics.stdev(scores)
        return mean - spread, mean + spread
    low, high = (system.rows[0].get("bootstrap") or {}).get("interval") or (None, None)
    return (None, None) if low is None or high is None else (100 * low, 100 * high)


def _overview(systems: Sequence[System]) -> TitledTable:
    head = ["system", "mIoU (%)", "95 % interval", "worst distance", "GMACs key", "non-key", "amortised", "share"]
    times = any(system.ms for system in systems)
    rows, full = [], max(system.gmacs for system in systems)
    for s in systems:
        low, high = (s.rows[0].get("bootstrap") or {}).get("interval") or (None, None)
        interval = f"{as_percent(low)} to {as_percent(high)}" if len(s.rows) == 1 and low is not None else "-"
        gmacs = [as_cell(s.rows[0]["gmacs"].get(kind)) for kind in ("key", "nonkey", "amortised")]
        score = mean_and_spread([100 * row["miou"] for row in s.rows if row["miou"] is not None], 1)
        time = [as_cell(s.ms[0] if s.ms else None, 1), s.ms[1] if s.ms else "-"] if times else []
        rows.append([s.name, score, interval, as_percent(s.mean("miou_worst")), *gmacs, f"{s.gmacs / full:.3f}", *time])
    return TitledTable("Systems", head + (["ms", "engine"] if times else []), rows)


def _differences(title: str, members: Sequence[tuple[Found, list[dict[str, Any]]]], pairs: Any) -> Section:
    several, lines, table = len(members) > 1, [], []
    for found, rows in members:
        names = row_names(rows)
        for number, row in enumerate(rows):
            for other, pair in zip(names, (row.get("bootstrap") or {}).get("differences", []), strict=False):
                if None in pair["interval"]:
                    continue
                value, low, high = (100 * v for v in (pair["miou"], *pair["interval"]))
                name = f"{names[number]} - {other}"
                lines.append((name, [Point(value, 0, f"{name}: {value:+.2f} ({low:+.2f} to {high:+.2f})", low, high)]))
        table += [[*([found.run] if several else []), *cells] for cells in differences_table(rows)]
    drawn = next(row["bootstrap"] for _, rows in members for row in rows if row.get("bootstrap"))
    note = (
        f"Points of mIoU with 95 % intervals: {drawn['blocks']} blocks of {drawn['block']} frames drawn "
        f"{drawn['resamples']:,} times, the same for both systems. They say how far the result depends on the frames, "
        "not on the training."
    )
    chart = intervals(lines[: 2 * MOST], title, "difference of mIoU in points", zero=True)
    head = [*(["run"] if several else []), *DIFFERENCES]
    return Section(
        title,
        note,
        [Chart("Paired differences", chart)],
        [TitledTable("Differences", head, table, 3 if several else 2)],
    )


def _seeds(title: str, systems: Sequence[System]) -> Section:
    lines, table = [], []
    for s in systems:
        scores = [100 * row["miou"] for row in s.rows]
        names = [str(row["training"]["seed"]) for row in s.rows]
        points = [Point(v, 0, f"{s.name}, seed {n}: {v:.2f}") for v, n in zip(scores, names, strict=True)]
        lines.append((s.name, points))
        table.append([s.name, ", ".join(names), mean_and_spread(scores, 2), f"{min(scores):.2f}", f"{max(scores):.2f}"])
    head = ["system", "seeds", "mean ± sample standard deviation", "lowest", "highest"]
    note = "mIoU in percent of trainings that differ in their seed alone."
    chart = intervals(lines[:MOST], title, "mIoU (%)")
    return Section(title, note, [Chart("mIoU of each seed", chart)], [TitledTable("Seeds", head, table, 2)])


def _by_distance(systems: Sequence[System], longest: int) -> str:
    series = []
    for number, s in enumerate(systems):
        points = [
            Point(d, 100 * v, f"{s.name}, {d} frames after the keyframe: {100 * v:.1f} %")
            for d in range(longest)
            if (v := s.at(d)) is not None
        ]
        series.append(Series(s.name, number, points))
    return curves(series, "mIoU by distance to the keyframe", "frames after the keyframe", "mIoU (%)")


def _mark(system: System, name: str) -> Point | None:
    score = system.iou(name)
    return None if score is None else Point(100 * score, 0, f"{system.name}, {name}: {as_percent(score)} %")


def _confusion(system: System, classes: Sequence[str]) -> Confusion:
    total = np.sum([np.sum(row["confusion"], axis=0) for row in system.rows], axis=0).tolist()
    shares = [[100 * value / sum(line) if sum(line) else None for value in line] for line in total]
    return Confusion(system.name, classes, shares)


def _others(systems: Sequence[System]) -> TitledTable:
    values = [{"pixel_accuracy": s.mean("pixel_accuracy"), **_numbers(s)} for s in systems]
    keys = [k for k in dict.fromkeys(k for v in values for k in v) if any(v.get(k) is not None for v in values)]
    rows = [[s.name, *(as_cell(v.get(k), 4) for k in keys)] for s, v in zip(systems, values, strict=True)]
    return TitledTable("Consistency, boundaries, pixels", ["system", *keys], rows if keys else [])


def _numbers(system: System) -> dict[str, float | None]:
    metrics = [row.get("metrics") or {} for row in system.rows]
    keys = dict.fromkeys(k for found in metrics for k, v in found.items() if not isinstance(v, (dict, list)))
    return {key: mean_of_known([found.get(key) for found in metrics]) for key in keys}


def _learning(folder: Path) -> Iterator[Section]:
    """Yield the learning curves, a panel of losses and one of validation for each phase."""
    phases: dict[str, list[tuple[str, Any]]] = {}
    for found in find_results(folder, "metrics.csv"):
        curves_of_run = read_curves(found.path)
        if curves_of_run:
            phases.setdefault(found.path.parent.name, []).append((found.run, curves_of_run))
    section = Section("Learning curves", f"The first {MOST} runs of each phase." if phases else "")
    for phase, runs in phases.items():
        for column, label in (("train/loss", "training loss"), ("val/miou", "validation mIoU (%)")):
            series = []
            for number, (run, columns) in enumerate(runs[:MOST]):
                steps, values = columns.get(column, ([], []))
                step, factor = -(-len(steps) // MOST_POINTS) or 1, 100 if column == "val/miou" else 1
                points = [
                    Point(x, factor * y, f"{run}, step {x:g}: {factor * y:.4g}")
                    for x, y in zip(steps[::step], values[::step], strict=True)
                    if math.isfinite(y)
                ]
                if points:
                    series.append(Series(run, number, points))
            if series:
                title, marks = f"{phase}: {label}", column != "train/loss"
                chart = curves(series, title, "optimiser step", label, marks=marks, height=3.2)
                section.charts.append(Chart(title, chart))
    section.tables += trainings(folder)
    if section.charts or section.tables:
        yield section


def _tables(title: str, tables: Iterator[TitledTable], note: str = "") -> Iterator[Section]:
    found = list(tables)
    if found:
        yield Section(title, note, tables=found)


def provenance(folder: Path) -> TitledTable:
    """Return the table of runs: their commands and revisions, as `provenance.json` has them."""
    rows = []
    for found in find_results(folder, "provenance.json"):
        content = read_json(found.path)
        git = content.get("git") or {}
        revision = str(git.get("revision") or "-")[:10] + (" with changes" if git.get("changed") else "")
        command = content.get("command") or ["-"]
        rows.append([found.run, revision, " ".join([Path(str(command[0])).name, *map(str, command[1:])])])
    return TitledTable("Runs", ["run", "revision", "command"], rows, 3)
