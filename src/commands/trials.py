"""The trials of a multirun of `src.train` are built before the first one runs."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict

from src.cli.config import check_keys, plain
from src.cli.ending import end_with
from src.cli.overrides import check_effect, check_rate
from src.cli.plugins import with_plugins
from src.errors import UserError

BUILT = 32  # trials of a larger grid


class BuildTrials(Callback):
    """Hydra callback: reject a multirun of which a trial cannot be built, before hours of other trials."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Build the networks, losses and data sets of the trials of a grid, see `sample_of`, without weights."""
        if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
            return  # it chooses values while it runs
        trials = list(trials_of(list(config.hydra.overrides.task)))
        chosen, wrong = sample_of(trials), []
        for number in chosen:
            overrides = trials[number]
            try:
                _build(config, overrides, Path(config.hydra.sweep.dir) / str(number))
            except UserError as error:
                wrong.append(overrides)
                own = [given for given in overrides if any(given not in other for other in trials)]
                print(f"error: {' '.join(own)}: {error}", file=sys.stderr)
        if wrong:
            end_with(f"{len(wrong)} of {len(chosen)} trials cannot be built, none was started; leave out their values")


def trials_of(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield the overrides of each trial of a grid, such as `seed=0` and `seed=1` for `seed=0,1`."""
    axes = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in OverridesParser.create().parse_overrides(list(overrides))
    ]
    yield from map(list, itertools.product(*axes))


def sample_of(trials: Sequence[Sequence[str]]) -> list[int]:
    """Return the numbers of trials to build: one of those that differ in the seed only; of more than `BUILT` those that
    are the first with one of their values, and others evenly spread."""
    apart: dict[frozenset[str], int] = {}
    for number, trial in enumerate(trials):
        apart.setdefault(frozenset(given for given in trial if not given.startswith("seed=")), number)
    numbers = list(apart.values())
    if len(numbers) <= BUILT:
        return numbers
    seen: set[str] = set()
    chosen = {numbers[n * len(numbers) // BUILT] for n in range(BUILT)}
    for values, number in apart.items():
        if not values <= seen:
            chosen.add(number)
            seen |= values
    return sorted(chosen)


def _build(multirun: DictConfig, overrides: list[str], run_dir: Path) -> None:
    """Compose one trial as Hydra does, and build it."""
    before = HydraConfig.instance().cfg
    try:
        given = [*multirun.hydra.overrides.hydra, *overrides]
        config = hydra.compose(str(multirun.hydra.job.config_name), given, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        with_plugins(check_keys)(config)
        build_trial(config, run_dir)
    finally:
        HydraConfig.instance().cfg = before


def build_trial(config: DictConfig, run_dir: Path) -> None:
    """Build what a composed training consists of, but for its labels.

    Args:
        config: of `src.train`.
        run_dir: of the training.

    Raises:
        UserError: a value that something rejects.
    """
    from src.commands.train import complete  # imported here, so that --help answers at once
    from src.training.preflight import preflight

    check_rate(config)
    check_effect(config)
    complete(config)
    resolved = plain(config)
    phases = resolved["model"]["phases"].items()
    preflight(resolved, [name for name, spec in phases if spec and not spec.get("given")], run_dir, resumes=True)
