"""Studies: `study=NAME` offers the trials of its file as options of the group `trial`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.cli.arguments import MULTIRUN, nearest
from src.cli.config_folders import config_folders
from src.errors import UserError
from src.reports.study import Study, StudyTrial, read_study

GROUP = "trial"
HELP = {"--help", "-h"}


def with_trials(command: str, arguments: Sequence[str], conf: Path) -> list[str]:
    """Store the trials of the chosen study where Hydra looks for options; a multirun gets all unless some are given.

    Args:
        command: name of the entry point.
        arguments: of the command line.
        conf: folder of this project's configuration; those of the command line come first.

    Returns:
        The arguments, perhaps with a `trial=`.

    Raises:
        UserError: an unknown study or one of another command, or a trial without a study or the other way round.
    """
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    name, trial = given.get("study", "null"), given.get(GROUP, "null")
    folders = [*map(Path, config_folders(arguments)), conf]
    files = {path.stem: path for folder in reversed(folders) for path in sorted((folder / "study").glob("*.yaml"))}
    if name == "null":
        if trial != "null":
            raise UserError(f"trial={trial} is one of a study; give study=NAME, too: {', '.join(files)}")
        return list(arguments)
    if name not in files:
        raise UserError(f"study={name} is unknown; {nearest(name, files)}")
    study, store = read_study(files[name]), ConfigStore.instance()
    store.repo.pop(GROUP, None)  # of another study
    for option in study.trials:
        store.store(group=GROUP, name=option.name, node=_as_option(study, option, folders), package="_global_")
    if command == "report":
        return list(arguments)
    if command != study.command:
        raise UserError(f"study={name} is one of src.{study.command}, not of src.{command}; start it with that")
    if trial == "null" and not HELP & set(arguments):
        names = ",".join(trial.name for trial in study.trials)
        if not MULTIRUN & set(arguments):
            raise UserError(f"study={name} has trials; give trial=NAME, one of {names}, or --multirun for all")
        return [*arguments, f"{GROUP}={names}"]
    return list(arguments)


def _as_option(study: Study, trial: StudyTrial, folders: Sequence[Path]) -> Any:
    """Return the content of a configuration file with the overrides of a trial."""
    values: dict[str, Any] = {}
    for text in (*study.overrides, *trial.overrides):
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise UserError(f"study={study.name}: '{text}' of trial={trial.name} cannot be read: {error}") from error
        values[override.get_key_element()] = override.value()
    groups = [key for key in values if any((folder / key.partition("@")[0]).is_dir() for folder in folders)]
    defaults = [{f"override /{key}": values.pop(key)} for key in groups]
    content = OmegaConf.create({"defaults": [*defaults, "_self_"], "study": study.name, GROUP: trial.name})
    for key, value in values.items():
        OmegaConf.update(content, key, value, force_add=True)
    return content
