"""Arguments of the command line before Hydra reads them: names of files as they are, and one line for what is wrong."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException, MissingConfigException

PATHS = re.compile(
    r"\+{0,2}(checkpoint|baseline|source|output|submission|key_source|film|runs|metrics|figure|page|ckpt_path|data\.root"
    r"|data\.source\.root|data\.unlabelled|paths\.\w+|hydra\.(run\.dir|sweep\.dir|sweep\.subdir)"
    r"|network\.arguments\.weights|model\.pretrained|model\.\w+_checkpoint)"
)
# of which a command takes several, given as [A,B]
LISTS = {"train": ("data.unlabelled",), "eval": ("checkpoint",), "predict": ("source",), "adapt": ("source",)}
MULTIRUN = {"-m", "--multirun"}


def readable(command: str, arguments: Sequence[str]) -> list[str]:
    """Quote the values of keys that name files, where Hydra's grammar would read something else than the name.

    Values that are quoted already, null, lists of names where the command takes several, interpolations, and the
    several values of a sweep stay what they are. A leading `~` becomes the home folder, which shells leave alone after
    a `=`.
    """
    sweeps, lists = bool(MULTIRUN & set(arguments)), LISTS.get(command, ())
    return [_readable(argument, sweeps, lists) for argument in arguments]


def _readable(argument: str, sweeps: bool, lists: Sequence[str]) -> str:
    key, equals, value = argument.partition("=")
    if not equals or not PATHS.fullmatch(key) or value in ("", "null", "???") or _is_quoted(value):
        return argument
    several = sweeps and _is_sweep(argument)
    if not several and key.lstrip("+") in lists and value.startswith("[") and value.endswith("]"):
        names = _split(value[1:-1])
        return f"{key}=[{','.join(_quoted(name) for name in names)}]"
    if sweeps and ("," in value or several):
        return argument if several else f"{key}={','.join(_quoted(name) for name in _split(value))}"
    return f"{key}={_quoted(value)}"


def _split(names: str) -> list[str]:
    """Split at commas outside quotes."""
    return [name.strip() for name in re.findall(r"""(?:'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|[^,])+""", names)]


def _quoted(name: str) -> str:
    """Return what Hydra reads as a name; itself where that is so without quotes."""
    if name.startswith("~/"):
        name = os.path.expanduser(name)
    if _is_quoted(name) or (_value(f"x={name}") == name and not name.endswith("\\")):  # which in a list hides a comma
        return name
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", name)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and isinstance(_value(f"x={value}"), str)


def _is_sweep(argument: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(argument).is_sweep_override())
    except HydraException:
        return False


def _value(argument: str) -> Any:
    try:
        return OverridesParser.create().parse_override(argument).value()
    except HydraException:
        return None


def comparable(arguments: Sequence[str]) -> list[str]:
    """Let all GOPs of a multirun be scored on the same frames: those that the longest reaches at every distance."""
    swept = next((a for a in arguments if a.startswith("video.gop=") and _is_sweep(a)), None)
    given = any(a.lstrip("+").startswith("data.longest_gop=") for a in arguments)
    if swept is None or given or not MULTIRUN & set(arguments):
        return list(arguments)
    override = OverridesParser.create().parse_override(swept)
    sweep = override.value()
    gops = [str(sweep.end)] if isinstance(sweep, IntervalSweep) else list(override.sweep_string_iterator())
    longest = max((int(float(gop)) for gop in gops if re.fullmatch(r"\d+(\.\d*)?", gop)), default=None)
    return [*arguments, *([] if longest is None else [f"data.longest_gop={longest}"])]


def unreadable(arguments: Sequence[str], groups: Collection[str] = ()) -> str | None:
    """Return one line about the first argument that Hydra cannot read; None where there is none.

    Args:
        arguments: of the command line.
        groups: folders of the configuration, from each of which an argument chooses a file.
    """
    options = list(get_args_parser()._option_string_actions)
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name = argument.partition("=")[0]
        if name.startswith("-") and not any(option.startswith(name) for option in options):
            return f"'{argument}' is no option; give {name.lstrip('-')}=VALUE without dashes, see --help"
        if argument.startswith("-") or (before.startswith("-") and before not in MULTIRUN):
            continue
        try:
            chosen = OverridesParser.create().parse_override(argument)
            if chosen.value() is None and chosen.key_or_group in groups and not chosen.is_delete():
                return f"{argument} chooses nothing; give {chosen.key_or_group}=NAME, or one of its keys, see --help"
        except HydraException as error:
            key, equals, value = argument.partition("=")
            if not equals:
                return f"'{argument}' is not KEY=VALUE; give each value with its key, see --help"
            return f"'{argument}' cannot be read ({_reason(error)}); to give a text as it is: {_in_shell(key, value)}"
    return None


def _reason(error: HydraException) -> str:
    return str(error).splitlines()[0].partition(" expecting ")[0]


def _in_shell(key: str, value: str) -> str:
    quoted = _quoted(value)
    quoted = quoted if _is_quoted(quoted) else f"'{quoted}'"
    return shlex.quote(f"{key}={quoted}") if re.search(r'["$`\\!]', value) else f'"{key}={quoted}"'


def explained(error: Exception, known: Callable[[str], Iterable[str]]) -> str:
    """Return one line about a configuration that cannot be composed, with the nearest known name.

    Args:
        error: raised by Hydra or OmegaConf.
        known: returns the keys of the configuration, with dots, for a key that is not among them.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name} is unknown; {nearest(name, error.options)}"
    text = str(error)
    wrong = re.search(r"^Could not override '([^']+)'\.\nTo append|^Could not delete from config\. '([^']+)'", text)
    if wrong:
        given, found = wrong[1] or wrong[2], str(getattr(error.__cause__, "full_key", ""))
        key = found if found.startswith(f"{given}.") else given  # a name in the value of a group
        return f"unknown configuration key '{key}': nothing reads it; {nearest(key, known(key))}"
    several = re.match(r"Ambiguous value for argument '([^=']+)=(.*)'", text)
    if several:
        key, values = several.groups()
        list_of = f"{key}=[{values}] if the key takes a list"
        return f"{key}={values} gives several values; give one of them, {list_of}, or --multirun to run with each"
    missing = re.match(r"You must specify '([^']+)'.*\nAvailable options:((?:\n\t\S+)+)", text)
    if missing:
        return f"{missing[1]}=NAME is not given; give one of {', '.join(missing[2].split())}"
    lines = dict.fromkeys(line.strip() for line in f"{text}\n{error.__cause__ or ''}".splitlines())
    return "; ".join(line for line in lines if line and not re.match(r"full_key:|object_type=|reference_type=", line))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint to the known name that is most similar, or to the known ones."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1)
    if not near:  # the last part of a key may be right and its place wrong
        near = [key for key in names if key.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(names)}" if len(names) <= 60 else "--cfg job prints all keys"
