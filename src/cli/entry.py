"""Hydra's part of a command: conf/NAME.yaml composed, keys checked, bad input answered by one line and status 2."""

from __future__ import annotations

import functools
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.cli.arguments import MULTIRUN, comparable, explained, readable, unreadable
from src.cli.config import check_keys
from src.cli.config_folders import check_files
from src.cli.ending import answers_signals, end_with
from src.cli.multirun import record_failure
from src.cli.plugins import with_plugins
from src.cli.renamed import renamed_arguments
from src.cli.resources import exhausted, is_disk_full
from src.cli.studies import with_trials
from src.errors import Exhausted, UserError, with_notes
from src.files import FAILED
from src.interruption import raise_received

FULL_ERROR = "HYDRA_FULL_ERROR"
PRINTS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
COMPARED = ("train", "eval")  # whose multiruns compare scores
CONF = Path(__file__).resolve().parents[2] / "conf"

Task = Callable[[DictConfig], float | None] | Callable[[DictConfig], None]


def run(name: str, task: Task) -> None:
    """Run a task with the configuration `conf/NAME.yaml` and the command line.

    The path of `conf` is absolute, as a relative one would be looked up among the installed packages where the
    command is a console script. The task runs after `check_keys`, and its errors are reported as by `reports_errors`.
    """

    raises = FULL_ERROR not in os.environ

    @functools.wraps(task)
    def checked(config: DictConfig) -> float | None:
        if raises:
            os.environ.pop(FULL_ERROR, None)  # a defect of the task is Hydra's to print
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and isinstance(handler.stream, io.TextIOWrapper):
                handler.stream.reconfigure(errors="backslashreplace")  # lines with file names that are not UTF-8
        hear_only(config.get("plugins") or [])
        check_keys(config)
        return task(config)

    if {"--help", "-h"} & set(sys.argv):  # Hydra composes for it, and would insist on what has no default
        sys.argv += [f"~{group}" for group in _mandatory_groups(name)]
    if name == "report" or PRINTS & set(sys.argv):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in `--help | head`
    arguments = readable(name, sys.argv[1:])
    wrong = renamed_arguments(arguments) or unreadable(arguments, _groups())
    if wrong:
        end_with(wrong)
    try:
        check_files(arguments)
        arguments = with_trials(name, arguments, CONF)
    except UserError as error:
        end_with(str(error))
    if name in COMPARED:
        arguments = comparable(arguments)
    # argparse takes no option in the midst of what is not one
    sys.argv[1:] = sorted(arguments, key=lambda argument: argument not in MULTIRUN)
    logging.raiseExceptions = False  # a log on a full disk would print a traceback for each line
    if raises:
        os.environ[FULL_ERROR] = "1"  # until the task starts, so that what cannot be composed is answered here
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(reports_errors(checked))()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if not raises:
            raise
        end_with(explained(error, functools.partial(_known_keys, name, arguments)))
    except OSError as error:  # of Hydra, which writes to the run directory before the task
        if not is_disk_full(error):
            raise
        end_with(str(exhausted(error, has_workers=False)))


def hear_only(plugins: str | Sequence[str]) -> None:
    """Let this project, Lightning and plugins log from INFO on, and other libraries from WARNING on.

    Other levels, such as that of hydra.verbose=true, stay.
    """
    root = logging.getLogger()
    if root.level != logging.INFO:
        return
    root.setLevel(logging.WARNING)
    for name in ("src", "lightning", *([plugins] if isinstance(plugins, str) else plugins)):
        logger = logging.getLogger(name.partition(".")[0])
        logger.setLevel(logger.level or logging.INFO)


def _known_keys(name: str, arguments: Sequence[str], wrong: str) -> list[str]:
    """Return the keys of a configuration as the other arguments compose it, and the names of its groups."""
    without = [f"~{group}" for group in _mandatory_groups(name)]
    given = [a for a in arguments if not a.startswith("-") and a.lstrip("+~").partition("=")[0] != wrong]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            composed = hydra.compose(name, [*given, *without], return_hydra_config=True)
        except HydraException:  # another argument is wrong, too
            composed = hydra.compose(name, without, return_hydra_config=True)
    keys = all_keys(OmegaConf.to_container(composed))
    return [key for key in keys if key.startswith("hydra.") == wrong.startswith("hydra.")] + _groups()


def _groups() -> list[str]:
    return [path.name for path in CONF.iterdir() if path.is_dir()]


def all_keys(node: Any, path: str = "") -> list[str]:
    """Return the keys of nested dicts with dots, those of inner nodes too."""
    if not isinstance(node, dict):
        return []
    places = {f"{path}{key}": value for key, value in node.items()}
    return [*places, *(key for place, value in places.items() for key in all_keys(value, f"{place}."))]


def _mandatory_groups(name: str) -> list[str]:
    """Return the groups of a configuration that have to be chosen and that the command line does not choose."""
    defaults = yaml.safe_load((CONF / f"{name}.yaml").read_text()).get("defaults", [])
    groups = [group for entry in defaults if isinstance(entry, dict) for group in entry if entry[group] == "???"]
    return [group for group in groups if not any(argument.startswith(f"{group}=") for argument in sys.argv)]


def reports_errors(task: Task) -> Callable[[DictConfig], float | None]:
    """Turn a `UserError` of a Hydra task into one line on stderr and exit status 2.

    In a multirun nothing that a job raises ends the jobs after it, see `src.cli.multirun`.
    """

    task = with_plugins(task)

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> float | None:
        with answers_signals():  # a launcher may run this in a process of its own
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                return _run_one_of_many(task, config)
            try:
                return task(config)
            except Exception as error:
                end_with(with_notes(_answer_to(error, config)))

    return wrapped


def _run_one_of_many(task: Task, config: DictConfig) -> float | None:
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    (run_dir / FAILED).unlink(missing_ok=True)  # of an earlier attempt
    try:
        return task(config)
    except Exception as error:
        try:
            answer: Exception = _answer_to(error, config)
        except Exception:
            answer = error
        if is_disk_full(error):  # for the next jobs, too
            end_with(with_notes(answer))
        record_failure(run_dir, list(HydraConfig.get().overrides.task), answer)
        return None


def _answer_to(error: Exception, config: DictConfig) -> UserError:
    """Return the `UserError` that an exception of a task is or, where the machine gave out, amounts to.

    A `UserError` from a data loader process comes with the traceback of that process, which is left out.

    Raises:
        Exception: the given one, if it is a defect of this project.
        Interruption: a signal was received, and the exception is a consequence.
    """
    raise_received()
    if isinstance(error, Exhausted):
        return error
    own = str(error).rsplit("UserError: ", 1)[-1].strip()
    answer = UserError(own) if isinstance(error, UserError) else exhausted(error, "data" in config)
    if answer is None:
        raise error
    for note in getattr(error, "__notes__", []):
        answer.add_note(note)
    return answer
