"""Command `src.report`: tables of results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.cli.config import plain
from src.cli.studies import with_trials
from src.commands.recipes import compose_recipes
from src.errors import UserError, check_choice
from src.reports.benchmark import plot_benchmarks
from src.reports.collect import benchmarks, collect
from src.reports.cost import cost_table, read_references
from src.reports.evaluation import read_results, results_markdown
from src.reports.recipes import read_recipes, recipes_table
from src.reports.study import Study, parse_study, read_study, wandb_sweep
from src.reports.study_table import curve_lines, read_study_runs, study_table
from src.reports.sweep import failures, read_trials, setting_of, sweep_table
from src.reports.tables import TitledTable, as_markdown

STUDIES = Path(__file__).parents[2] / "conf" / "study"
TABLES = ("all", "results", "sweep", "cost", "recipes")  # beside those of studies


def report(config: DictConfig) -> None:
    """Print the tables of a composed conf/report.yaml as Markdown, each line as soon as it is known.

    Raises:
        UserError: an unknown table, a folder or file that is not given, or that holds no results.
    """
    for line in _lines(config):
        print(line, flush=True)


def _lines(config: DictConfig) -> Iterator[str]:
    if config.get("study") is not None:
        yield from _study(parse_study(str(HydraConfig.get().runtime.choices["study"]), plain(config.study)), config)
        return
    if config.get("page") is not None:
        from src.reports.page.write import write_page  # imported here, as matplotlib is slow to load

        folder = _given(config, "runs", "a folder with runs, such as logs")
        paths = write_page(
            folder, Path(config.page), str(config.score), list(config.distances or []), _studies(folder, config)
        )
        for path in paths:
            yield f"{path}: {path.stat().st_size / 1e3:,.0f} kB"
        return
    table = config.table or ("results" if config.metrics else "all")
    check_choice("table", table, TABLES)
    if table == "cost":
        from src.commands.cost import compare  # imported here, as it loads all networks

        yield from cost_table(compare(read_references()))
    elif table == "recipes":
        yield from recipes_table(compose_recipes(read_recipes()))
    elif table == "results":
        results = read_results(_given(config, "metrics", "RUN/metrics.json of src.eval"))
        yield results_markdown(results, list(config.distances or []))
    elif table == "sweep":
        trials = read_trials(_given(config, "runs", "the hydra.sweep.dir of a multirun"), str(config.score))
        head, *rows = sweep_table(trials)
        yield as_markdown(head, rows, left=0)
        yield from failures(trials)
    else:
        folder = _given(config, "runs", "a folder with runs, such as logs, or metrics=RUN/metrics.json")
        yield from collect(folder, str(config.score), list(config.distances or []))
        if config.figure:
            plot_benchmarks(benchmarks(folder), Path(config.figure))
            yield f"figure: {config.figure}"


def _studies(folder: Path, config: DictConfig) -> list[tuple[TitledTable, list[str]]]:
    """Return the table of each study of conf/study that has runs below a folder, and the lines below it."""
    from src.commands.study import count_trials  # imported here, as it loads all networks

    settings = [setting_of(path.parents[1]) for path in folder.rglob(".hydra/overrides.yaml")]
    tables = []
    for name in sorted({setting["study"] for setting in settings if "study" in setting}):
        path = STUDIES / f"{name}.yaml"
        if not path.is_file() or path.parent != STUDIES:
            continue  # of another --config-dir
        with_trials("report", [f"study={name}"], STUDIES.parent)  # so that a trial without a run can be counted
        study = read_study(path)
        runs = read_study_runs(study, folder, str(config.score))
        counted = count_trials(study, [trial for trial, _ in runs]) if study.command == "train" else {}
        head, *rows = study_table(study, runs, counted)
        lines = [*curve_lines(study, runs, counted), *failures([trial for trial, _ in runs])]
        tables.append((TitledTable(study.title, head, rows), lines))
    return tables


def _study(study: Study, config: DictConfig) -> Iterator[str]:
    if config.table == "wandb":
        yield yaml.safe_dump(wandb_sweep(study), sort_keys=False)
        return
    from src.commands.study import count_trials  # imported here, as it loads all networks

    runs = [] if config.runs is None else read_study_runs(study, Path(config.runs), str(config.score))
    trials = [trial for trial, _ in runs]
    counted = count_trials(study, trials) if study.command == "train" else {}
    head, *rows = study_table(study, runs, counted)
    yield f"### {study.title}\n"
    yield as_markdown(head, rows)
    yield from curve_lines(study, runs, counted)
    yield from failures(trials)


def _given(config: DictConfig, key: str, example: str) -> Path:
    if config[key] is None:
        raise UserError(f"{key} is not given; give {key}={example}")
    return Path(config[key])
