"""Entry point: `python -m src.report metrics=RUN/metrics.json | table=sweep runs=FOLDER | table=cost`: a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from src.cli.entry import reports_errors
from src.errors import UserError
from src.reports.sweep import failures, read_trials, sweep_table


@hydra.main(version_base="1.3", config_path="../conf", config_name="report")
@reports_errors
def main(config: DictConfig) -> None:
    """Print the table; nothing is written."""
    if config.table == "cost":
        from src.reports.cost import cost_table, read_references  # imported late, as it loads all networks

        for line in cost_table(read_references()):
            print(line, flush=True)
    elif config.table == "sweep":
        trials = read_trials(Path(config.runs), str(config.score))
        head, *rows = sweep_table(trials)
        print(as_markdown([head, ["--:"] * len(head), *rows]))
        for line in failures(trials):
            print(line)
    elif config.table == "results":
        print(markdown(read_results(Path(config.metrics)), list(config.distances)))
    else:
        raise UserError(f"table={config.table} is not one of results, sweep, cost; choose one of these")


def read_results(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.json`.

    Raises:
        UserError: missing, or not written by `src.eval`.
    """
    try:
        results: list[dict[str, Any]] = json.loads(path.read_text())
        results[0]["miou_by_distance"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"metrics '{path}' is not a metrics.json of src.eval ({error}); give RUN/metrics.json"
        ) from error
    return results


def markdown(results: list[dict[str, Any]], distances: list[int]) -> str:
    """One line per method: mean mIoU (%), at the distances that a GOP of the evaluation has, and GMACs per frame."""
    shown = [d for d in distances if d < len(results[0]["miou_by_distance"])]
    full = results[0]["gmacs"]["amortised"]
    head = ["method", "mean mIoU", *(f"d = {d}" for d in shown), "GMACs key", "non-key", "amortised", "share"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for row in results:
        name = f"{row['method']} {row['scale']:g}x" if row["scale"] else row["method"]
        scores = [row["miou"], *(row["miou_by_distance"][d] for d in shown)]
        gmacs = list(row["gmacs"].values())
        lines.append(
            [name, *(f"{100 * v:.1f}" for v in scores), *(f"{v:.2f}" for v in gmacs), f"{gmacs[-1] / full:.3f}"]
        )
    return as_markdown(lines)


def as_markdown(lines: list[list[str]]) -> str:
    """Cells as lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
