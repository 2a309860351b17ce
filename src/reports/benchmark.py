"""The table at the end of `src.benchmark --multirun`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

COLUMNS = {
    "model": "model",
    "params_train": "params (train)",
    "params_inference": "params (inference)",
    "gmacs_key": "GMACs key",
    "gmacs_nonkey": "non-key",
    "gmacs_amortised": "amortised",
    "height": "height",
    "width": "width",
}


class SweepTable(Callback):
    """Reads what the jobs of a sweep left in their run directories, wherever they ran.

    A table goes to standard error; the jobs' JSON lines are the last lines of standard output once more.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra after the last job."""
        files = Path(config.hydra.sweep.dir).glob("*/metrics/benchmark.json")
        rows = [json.loads(path.read_text())["result"] for path in sorted(files, key=_job_number)]
        Console(stderr=True, width=120).print(as_table(rows))
        for row in rows:
            print(json.dumps(row))


def _job_number(path: Path) -> int:
    return int(path.parents[1].name.split("_")[0])


def as_table(rows: list[dict[str, Any]]) -> Table:
    """One line per result; the median time of a frame of a long film where it was measured."""
    table = Table(title="cost per frame")
    timed = any("latency" in row for row in rows)
    for heading in (*COLUMNS.values(), *(["ms amortised"] if timed else [])):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in rows:
        cells = [_cell(row[key]) for key in COLUMNS]
        latency = row.get("latency")
        times = [_cell(latency["milliseconds"]["network"]["amortised"]["median"] if latency else None)] if timed else []
        table.add_row(*cells, *times)
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
