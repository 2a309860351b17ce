"""Results of `src.eval`, read from metrics.json."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

from src.errors import UserError
from src.files import read_json
from src.reports.tables import as_cell, as_markdown, as_percent, mean_and_spread, print_table

DIFFERENCES = ("system", "minus", "mIoU", "95 % interval")
# of evaluations that are averaged over seeds, beside the recipe of the training
SAME = (
    *("method", "scale", "budget", "network", "split", "gop", "codec", "frames", "height", "width"),
    *("backend", "precision"),
)
COST = ("key", "nonkey", "amortised")


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a `metrics.json`.

    Raises:
        UserError: missing, or not written by `src.eval`.
    """
    try:
        results: list[dict[str, Any]] = json.loads(path.read_text())
        for row in results:
            row["method"], row["miou_by_distance"], row["gmacs"]["amortised"]
        results[0]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"metrics '{path}' is not a metrics.json of src.eval ({error}); give RUN/metrics.json"
        ) from error
    return results


def is_evaluation(path: Path) -> bool:
    """Whether a `metrics.json` was written by `src.eval`."""
    content = read_json(path)
    return isinstance(content, list) and bool(content) and "miou_by_distance" in content[0]


def results_table(results: list[dict[str, Any]], distances: list[int]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: mean mIoU (%), mIoU at distances to the keyframe, and GMACs per frame.

    The last column is the amortised cost relative to the first row.
    """
    head = ["method", "mean mIoU", *(f"d = {d}" for d in distances), "GMACs key", "non-key", "amortised", "share"]
    full = results[0]["gmacs"]["amortised"]
    rows = []
    for name, row in zip(row_names(results), results, strict=True):
        by_distance = row["miou_by_distance"]
        scores = [row["miou"], *(by_distance[d] if d < len(by_distance) else None for d in distances)]
        gmacs = [as_cell(row["gmacs"].get(kind)) for kind in COST]
        percent = [as_percent(score) for score in scores]
        rows.append([name, *percent, *gmacs, f"{row['gmacs']['amortised'] / full:.3f}"])
    return head, rows


def results_markdown(results: list[dict[str, Any]], distances: list[int]) -> str:
    """Return the Markdown table of one `metrics.json`, see `results_table`; distances never evaluated are left out."""
    return as_markdown(*results_table(results, evaluated(results, distances)))


def evaluated(results: list[dict[str, Any]], distances: list[int]) -> list[int]:
    """Return those of the distances that any of the results has."""
    return [d for d in distances if d < max(len(row["miou_by_distance"]) for row in results)]


def row_names(results: list[dict[str, Any]]) -> list[str]:
    """Return method and scale of each row, such as `AR 0.5x`; network and checkpoint where they tell rows apart."""
    names = [method_name(str(row["method"]), row.get("scale"), row.get("budget")) for row in results]
    networks, checkpoints = ([str(row.get(key, "?")) for row in results] for key in ("network", "checkpoint"))
    for details in (networks, _ends(checkpoints)):
        pairs = list(zip(names, details, strict=True))
        names = [f"{name} {one}" if any(n == name and d != one for n, d in pairs) else name for name, one in pairs]
    return names


def _ends(paths: list[str]) -> list[str]:
    """Return the fewest last parts of paths that tell all apart; of addresses without the digest."""
    parts = [PurePath(path.partition("#")[0]).parts for path in paths]
    ends = paths
    for count in range(max(map(len, parts), default=0), 0, -1):
        shorter = ["/".join(one[-count:]) for one in parts]
        if len(set(shorter)) < len(set(paths)):
            break
        ends = shorter
    return ends


def method_name(method: str, scale: float | None, budget: float | str | None = None) -> str:
    """Return what a method at a scale, with a budget (GMACs, or as "20ms"), is called in tables, such as `AR 0.5x`."""
    name = f"{method} {scale:g}x" if scale else method
    if budget is None:
        return name
    return f"{name}, {budget}" if isinstance(budget, str) else f"{name}, {budget:g} GMACs"


def print_results(results: list[dict[str, Any]]) -> None:
    """Print mIoU by distance with GMACs, then IoU by class, all IoU in percent, then all other metrics."""
    names, classes = row_names(results), list(results[0]["iou"])
    distances = range(len(results[0]["miou_by_distance"]))
    width = max(120, 48 + 8 * len(distances))
    scores = [[row["miou"], row.get("miou_worst"), *row["miou_by_distance"]] for row in results]
    rows = [
        [name, *map(as_percent, score), *(as_cell(row["gmacs"][kind]) for kind in COST)]
        for name, score, row in zip(names, scores, results, strict=True)
    ]
    head = ["method", "mean", "worst", *map(str, distances), "key", "non-key", "amortised"]
    title = "mIoU (%): mean, worst and each distance to the keyframe; GMACs per frame"
    print_table(head, rows, title=title, width=width)
    rows = [[name, *(as_percent(row["iou"][c]) for c in classes)] for name, row in zip(names, results, strict=True)]
    print_table(["method", *classes], rows, title="IoU (%) by class, mean over distances", width=width)
    others = [{"pixel_accuracy": row.get("pixel_accuracy"), **row.get("metrics", {})} for row in results]
    numbers = [key for key in others[0] if not any(isinstance(row.get(key), (dict, list)) for row in others)]
    rows = [[name, *(as_cell(row.get(key), 4) for key in numbers)] for name, row in zip(names, others, strict=True)]
    print_table(["method", *numbers], rows, title="other metrics, 0..1 (-: nothing to count)", width=width)
    print_live(results)
    print_differences(results)


def print_live(results: list[dict[str, Any]]) -> None:
    """Print what each system achieves on a source that does not wait; nothing where that was not scored."""
    rates = {row["live"]["fps"] for row in results if "live" in row}
    if rates:
        title = f"live at {rates.pop():g} frames/s on this machine: labels on screen, see docs/budget.md"
        print_table(*live_table(results), title=title, width=120)


def live_table(results: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: mIoU (%) of what is on screen and of all frames, latency, late and skipped frames (%).

    Where a system has a latency as its budget, a column more has the frames that missed it, skipped ones among them.
    """
    head = ["method", "live mIoU", "mIoU", "ms, median", "ms, p99", "late %", "skipped %"]
    has_missed = any("missed" in row.get("live", {}) for row in results)
    head += ["missed %"] if has_missed else []
    rows = []
    for name, row in zip(row_names(results), results, strict=True):
        live = row.get("live")
        if live is None:
            continue
        scores = map(as_percent, (live["miou"], row["miou"]))
        shares = map(as_percent, (live["late"], live["skipped"]))
        missed = [as_percent(live["missed"]) if "missed" in live else "-"] if has_missed else []
        rows.append([name, *scores, as_cell(live["ms_p50"]), as_cell(live["ms_p99"]), *shares, *missed])
    return head, rows


def print_differences(results: list[dict[str, Any]]) -> None:
    """Print the difference of mIoU of each two systems with its interval; nothing where there is none."""
    rows = differences_table(results)
    if rows:
        drawn = results[0]["bootstrap"]
        title = (
            f"difference of mIoU in points, {drawn['blocks']} blocks of {drawn['block']} frames drawn "
            f"{drawn['resamples']} times, the same for both"
        )
        print_table(DIFFERENCES, rows, title=title, left=(0, 1), width=120)


def differences_table(results: list[dict[str, Any]]) -> list[list[str]]:
    """Return rows under the heads `DIFFERENCES`, one for each two systems of an evaluation with intervals."""
    names, rows = row_names(results), []
    for number, row in enumerate(results):
        for other, found in zip(names, row.get("bootstrap", {}).get("differences", []), strict=False):
            if None not in found["interval"]:
                low, high = (100 * end for end in found["interval"])
                rows.append([names[number], other, f"{100 * found['miou']:+.2f}", f"{low:+.2f} to {high:+.2f}"])
    return rows


def over_seeds(results: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the rows of each method that differ in the seed of the training alone, one for each of two seeds or more.

    Args:
        results: rows of any number of `metrics.json`.
    """
    groups: dict[tuple[str, ...], dict[int, dict[str, Any]]] = {}
    for row in results:
        training = row.get("training") or {}
        if training.get("recipe"):
            place = (training["recipe"], *(str(row.get(key)) for key in SAME))
            groups.setdefault(place, {})[training["seed"]] = row
    return [[seeds[seed] for seed in sorted(seeds)] for seeds in groups.values() if len(seeds) > 1]


def seeds_table(results: list[dict[str, Any]], distances: list[int]) -> list[list[str]]:
    """Return a head and, for each group of `over_seeds`, mean and sample standard deviation of mIoU in percent."""
    rows = [["method", "network", "recipe", "seeds", "mean mIoU", *(f"d = {d}" for d in distances)]]
    for group in over_seeds(results):
        first = group[0]
        seeds = ", ".join(str(row["training"]["seed"]) for row in group)
        scores = [[row["miou"] for row in group]]
        scores += [[row["miou_by_distance"][d] for row in group if d < len(row["miou_by_distance"])] for d in distances]
        cells = [mean_and_spread([100 * score for score in found if score is not None], 1) for found in scores]
        rows.append([*row_names([first]), str(first.get("network", "?")), first["training"]["recipe"], seeds, *cells])
    return rows
