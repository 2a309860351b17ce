"""Jobs of a multirun: failed ones are reported and do not end the others; benchmarks are printed as one table."""

from __future__ import annotations

import functools
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src.cli.ending import interruption_notes
from src.errors import UserError, with_notes
from src.files import FAILED, as_json, read_json, write_json
from src.reports.benchmark import benchmark_table, read_benchmark
from src.reports.tables import print_table


def record_failure(run_dir: Path, overrides: list[str], error: Exception) -> None:
    """Print why a job failed, and write `failed.json` to its run directory."""
    if isinstance(error, UserError):
        message = with_notes(error)
        print(f"error: {message}", file=sys.stderr)
    else:
        message = f"{type(error).__name__}: {error}"
        traceback.print_exception(error)
    write_json(run_dir / FAILED, {"overrides": overrides, "error": message})


class BenchmarkTable(Callback):
    """Hydra callback: print the benchmarks of all jobs, wherever they ran, after the last one.

    A table goes to standard error; the jobs' JSON lines are the last lines of standard output once more.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read what the jobs left in their run directories."""
        files = Path(config.hydra.sweep.dir).glob("*/metrics/benchmark.json")
        results = [read_benchmark(path) for path in sorted(files, key=_job_number)]
        print_table(*benchmark_table(results), title="cost per frame", width=120, errors=True)
        for result in results:
            print(as_json(result))


def _submitted(sweep: Path) -> str:
    ids = sorted({path.name.partition("_")[0] for path in sweep.glob(".submitit/[0-9]*")})
    if not ids:
        return "no job was submitted; start it again"
    return f"its jobs remain with SLURM and write to '{sweep}'; see squeue, or end them by scancel {' '.join(ids)}"


def _job_number(path: Path) -> int:
    return int(path.parents[1].name.split("_")[0])


class FailedJobs(Callback):
    """Hydra callback: exit status 2 after a multirun in which jobs failed, wherever they ran."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let an interruption of the wait for SLURM name the jobs, which it does not end."""
        if config.hydra.launcher._target_.endswith(".SlurmLauncher"):
            interruption_notes.append(functools.partial(_submitted, Path(config.hydra.sweep.dir)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report the failed jobs after the last one."""
        files = sorted(Path(config.hydra.sweep.dir).glob(f"*/{FAILED}"))
        for path in files:
            try:
                failure = read_json(path)
            except UserError as error:
                failure = {"overrides": [], "error": str(error)}
            print(f"failed: {path.parent} ({' '.join(failure['overrides'])}): {failure['error']}", file=sys.stderr)
        if files:
            print(f"error: {len(files)} jobs of the multirun failed, the others are complete", file=sys.stderr)
            sys.exit(2)
