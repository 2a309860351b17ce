"""Compare the configuration of a resumed run with the one that it began with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from src.data.clips.unlabelled import KEY as UNLABELLED
from src.data.clips.unlabelled import digest_of_files
from src.data.datasets.base import digest_of
from src.errors import UserError
from src.files import read_json
from src.instantiate import instantiate
from src.training.devices import process_count

# In a run directory: how it began, and a line for each resume.
CONFIG, PROVENANCE, RESUMES = "config_resolved.yaml", "provenance.json", "resumes.jsonl"
FORMAT = 2  # of meanings: 1 had data.batch_size for each process, and videos rendered from still images followed `seed`
SHOWN = 4  # differences that a message lists

# Where and how fast a run computes, and what is shown of it.
FREE = re.compile(
    r"trainer\.(accelerator|devices|num_nodes|strategy|log_every_n_steps|enable_\w+|profiler|detect_anomaly"
    r"|benchmark|deterministic)(\..+)?"
    r"|data\.(module\.)?workers|paths\..+|logger\..+|metric\..+|plugins|compile|channels_last"
    r"|callbacks\.(?!ema\b|best\.(monitor|mode)$).+"
)
GROWING = re.compile(r"((model\.phases\.\w+\.)?trainer|limits)\.max_(epochs|steps)|model\.(\w+_)?epochs")
PHASE = re.compile(r"model\.phases\.(\w+)")
ROOT = re.compile(r"data\.((source\.)?root|unlabelled)")
REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([\w.@]+)")


class _Absent:
    def __str__(self) -> str:
        return "absent"


ABSENT = _Absent()


@dataclass(frozen=True)
class Change:
    """A value of the configuration that is another than before; `follows` from another one by interpolation."""

    key: str
    old: Any
    new: Any
    follows: bool = False

    def __str__(self) -> str:
        return f"{self.key} {_shown(self.old)} -> {_shown(self.new)}"

    def as_dict(self) -> dict[str, Any]:
        """Return `old` and `new` where there is one."""
        return {name: value for name, value in (("old", self.old), ("new", self.new)) if value is not ABSENT}

    @property
    def grows(self) -> bool:
        """Whether it is a number of epochs or steps that rises."""
        numbers = all(isinstance(v, int) and v > 0 for v in (self.old, self.new))
        return bool(GROWING.fullmatch(self.key)) and numbers and self.new > self.old


def stored_config(run_dir: Path) -> dict[str, Any] | None:
    """Return the configuration that a run was last trained with; None where it is not recorded.

    Raises:
        UserError: the record cannot be read.
    """
    path = run_dir / CONFIG
    if not path.exists():
        return None
    try:
        stored = yaml.safe_load(path.read_text())
        if not isinstance(stored, dict):
            raise ValueError("no mapping")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"'{path}' cannot be read; restore it, or remove it to resume without comparing configurations"
        ) from error
    for record in _resumes(run_dir / RESUMES):
        for key, change in record["changes"].items():
            _set(stored, key.split("."), change.get("new", ABSENT))
    return stored


def changes_of(
    run_dir: Path,
    config: dict[str, Any],
    unresolved: Mapping[str, Any],
    usual: Mapping[str, Any],
    has_begun: Callable[[str], bool],
    is_same_data: Callable[[], bool],
) -> list[Change]:
    """List the values that a run is resumed with and that are other than before, all of which may be.

    Keys that have come to this project since the run began, and have their usual values, are no difference.

    Args:
        run_dir: of the run.
        config: that it is resumed with, resolved.
        unresolved: the same with its interpolations.
        usual: the same without experiment and values given.
        has_begun: whether a phase has been trained, by name.
        is_same_data: whether the files below the root of the data set are the same as before.

    Raises:
        UserError: a value that has to stay, or the record of the run cannot be read.
    """
    stored = stored_config(run_dir)
    if stored is None:
        return []
    if _format_of(run_dir) < FORMAT:
        began = yaml.safe_load((run_dir / CONFIG).read_text())  # resumes change devices, but not the joint batch
        _translate(stored, began.get("trainer") or {}, unresolved)
    if (trainer := stored.get("trainer") or {}).get("precision") == "auto":  # once recorded without its meaning
        trainer["precision"] = config["trainer"]["precision"]
    changes = differences(stored, yaml.safe_load(yaml.safe_dump(config)), unresolved)
    changes = [change for change in changes if not _has_come(change, changes, unresolved, usual)]
    wrong = [change for change in changes if not change.follows and not _may_change(change, has_begun, is_same_data)]
    if wrong := _grouped(wrong):
        raise UserError(
            f"'{run_dir}' was trained with {_list(f'{c.key}={_shown(c.old)}, not {_shown(c.new)}' for c in wrong)}; "
            f"{_remedy(wrong)}, or start a run of its own in another hydra.run.dir without ckpt_path"
        )
    return changes


def differences(old: dict[str, Any], new: dict[str, Any], unresolved: Mapping[str, Any]) -> list[Change]:
    """List the values that differ, but for the order to resume.

    Args:
        old: a resolved configuration.
        new: another one.
        unresolved: the second with its interpolations.
    """
    left_out = {p for c in (old, new) for p, spec in _phases(c).items() if spec is None}
    before, after = (dict(_leaves(config, left_out)) for config in (old, new))
    keys = [*after, *(key for key in before if key not in after)]
    found = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in keys if key != "ckpt_path"}
    found = {key: (a, b) for key, (a, b) in found.items() if a is ABSENT or b is ABSENT or a != b}
    sources = {key: REFERENCE.findall(text) for key, text in _leaves(unresolved, set()) if isinstance(text, str)}
    return [Change(key, *values, _follows(key, sources, found)) for key, values in found.items()]


def data_digests(data: Mapping[str, Any]) -> dict[str, str | None] | None:
    """Digest training and validation data, wherever their files lie; None where there are none.

    Args:
        data: configuration of the data, resolved.
    """
    found: dict[str, str | None] = {}
    if data.get("root") is not None:
        source = instantiate(data["source"])
        splits = {str(data.get(key)) for key in ("train_split", "val_split")} - {"None"}
        found = {split: digest_of(source, split) for split in sorted(splits)}
    if data.get("unlabelled"):
        found[UNLABELLED] = digest_of_files(data["unlabelled"])
    return found or None


def is_same_data(run_dir: Path, data: Mapping[str, Any]) -> bool:
    """Whether a run began with data of the same names, sizes and times of change, maybe elsewhere."""
    path = run_dir / PROVENANCE
    before: dict[str, str | None] | None = read_json(path).get("data") if path.exists() else None
    return before is not None and None not in before.values() and before == data_digests(data)


def _format_of(run_dir: Path) -> int:
    try:
        return int(read_json(run_dir / PROVENANCE).get("format", 1))
    except (UserError, OSError):
        return FORMAT


def _translate(stored: dict[str, Any], trainer: Mapping[str, Any], unresolved: Mapping[str, Any]) -> None:
    """Give keys of format 1 the values by which the run continues as it began."""
    data = stored.get("data") or {}
    known = ("accelerator", "devices", "num_nodes")
    processes = process_count(**{key: value for key, value in trainer.items() if key in known})
    specs = [spec.get("data") or {} for spec in _phases(stored).values() if spec is not None]
    for place in (data, data.get("module") or {}, *specs):
        if isinstance(place.get("batch_size"), int):
            place["batch_size"] *= processes
    if any(isinstance(text, str) and "data.seed" in REFERENCE.findall(text) for _, text in _leaves(unresolved, set())):
        data.setdefault("seed", stored.get("seed"))


def _has_come(change: Change, changes: list[Change], unresolved: Mapping[str, Any], usual: Mapping[str, Any]) -> bool:
    """Whether a key is newer than the run and not given; keys of an object that is new itself were chosen."""
    chosen = [c.key.removesuffix("_target_") for c in changes if c.old is ABSENT and c.key.endswith("._target_")]
    if change.old is not ABSENT or change.key.startswith(tuple(chosen)):
        return False
    given, known = (dict(_leaves(config, set())) for config in (unresolved, usual))
    place = next((place for place in given if _within(change.key, place)), None)
    return place in known and known[place] == given[place]


def _follows(key: str, sources: Mapping[str, list[str]], found: Mapping[str, Any]) -> bool:
    """Whether a value is an interpolation of another that differs."""
    references = [name for place, names in sources.items() if _within(key, place) for name in names]
    return any(_within(name, other) or _within(other, name) for name in references for other in found if other != key)


def _within(key: str, place: str) -> bool:
    return key == place or key.startswith(f"{place}.")


def _phases(config: Mapping[str, Any]) -> Mapping[str, Any]:
    phases = (config.get("model") or {}).get("phases") or {}
    return phases if isinstance(phases, Mapping) else {}


def _leaves(value: Any, left_out: set[str], place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; a phase that either side leaves out is one value."""
    phase = PHASE.fullmatch(place)
    if phase and phase[1] in left_out:
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, left_out, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _may_change(change: Change, has_begun: Callable[[str], bool], is_same_data: Callable[[], bool]) -> bool:
    phase = PHASE.match(change.key)
    if phase and phase.end() == len(change.key):
        return not has_begun(phase[1])
    if ROOT.fullmatch(change.key):
        return is_same_data()
    return bool(FREE.fullmatch(change.key)) or change.grows


def _grouped(changes: list[Change]) -> list[Change]:
    """Replace the values of an object that only one side has by the object."""
    for target in [c for c in changes if c.key.endswith("._target_") and ABSENT in (c.old, c.new)]:
        group = target.key.removesuffix("._target_")
        changes = [c for c in changes if not _within(c.key, group)] + [Change(group, target.old, target.new)]
    return changes


def _remedy(wrong: list[Change]) -> str:
    given = [f"{c.key}={_shown(c.old)}" for c in wrong if c.old is not ABSENT and not PHASE.fullmatch(c.key)]
    added = [c.key for c in wrong if c.old is ABSENT or PHASE.fullmatch(c.key)]
    steps = [f"give {_list(given)} as before"] * bool(given) + [f"leave out {_list(added)}"] * bool(added)
    return " and ".join(steps)


def _list(items: Any) -> str:
    texts = list(items)
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "module" in value:
        return "a phase"
    text = (
        "null" if value is None else json.dumps(value) if isinstance(value, (bool, list, dict)) else str(value) or '""'
    )
    return text if len(text) <= 60 else f"{text[:57]}..."


def _resumes(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a run's resumes; a line that was not written completely changed nothing."""
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            record = json.loads(line)
            if not all(isinstance(change, dict) for change in record["changes"].values()):
                raise ValueError("no changes")
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        yield record


def _set(config: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = config.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        config = inner
    if value is ABSENT:
        config.pop(keys[-1], None)
    else:
        config[keys[-1]] = value
