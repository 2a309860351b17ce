"""Decide which phases of a run are trained, before anything is written to its directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.files import read_json
from src.training.callbacks.checkpoint import LAST, Resumption, begun, checkpoints_of, newest
from src.training.resume import Change, changes_of, is_same_data, stored_config
from src.training.summary import DONE


@dataclass(frozen=True)
class Plan:
    """Lists what is to be trained in a run directory.

    Attributes:
        is_resumed: the directory holds a run, which continues.
        pending: phases to train, in order.
        begun: where those of them continue that have checkpoints.
        changes: of the configuration since the run was last trained.
        notes: lines for the log, which is part of the directory.
    """

    is_resumed: bool
    pending: list[str]
    begun: dict[str, Resumption]
    changes: list[Change]
    notes: list[str]


def plan_phases(
    resolved: dict[str, Any],
    unresolved: Mapping[str, Any],
    usual: Mapping[str, Any],
    run_dir: Path,
    sweep_dir: Path | None = None,
) -> Plan:
    """Find the phases of `model.phases` that are not done.

    A phase whose folder holds `done.json` is skipped unless it is to have more epochs now, one with a checkpoint
    continues from there if `ckpt_path=last` (or SLURM requeued the job), and a phase with `given` (a checkpoint of its
    network) is never run. With `ckpt_path=last`, trials of a multirun that had not come to a checkpoint begin, if
    others had.

    Args:
        resolved: configuration of the training as plain Python.
        unresolved: the same with its interpolations.
        usual: the same without experiment and values given.
        run_dir: nothing in it is changed.
        sweep_dir: of a multirun that the run is a trial of.

    Raises:
        UserError: nothing to resume, a run directory already in use, or a configuration that it cannot resume with.
    """
    resume = _resumes(resolved["ckpt_path"])
    phases = {name: spec for name, spec in resolved["model"]["phases"].items() if spec is not None}
    own = [name for name, spec in phases.items() if not spec.get("given")]
    notes = [f"phase {name}: skipped, {spec['given']} is given" for name, spec in phases.items() if spec.get("given")]
    used = [name for name in own if begun(checkpoints_of(run_dir / name)) or (run_dir / name / DONE).exists()]
    if not used:
        begun_sweep = sweep_dir is not None and any(sweep_dir.glob(f"*/*/checkpoints/{LAST}"))
        if resolved["ckpt_path"] == "last" and not begun_sweep:  # perhaps its directory is misspelt
            given = f"ckpt_path=last: '{run_dir}' holds no last.ckpt"
            raise UserError(f"{given}; give hydra.run.dir=RUN of the run, or hydra.sweep.dir=SWEEP, to resume")
        if resume:
            notes.append(f"'{run_dir}' holds no last.ckpt: training starts now")
        return Plan(False, own, {}, [], notes)
    if not resume:
        raise UserError(f"'{run_dir}' already holds a run; give ckpt_path=last to resume it, or another directory")
    changes = changes_of(
        run_dir,
        resolved,
        unresolved,
        usual,
        lambda name: (run_dir / name / DONE).exists() or begun(checkpoints_of(run_dir / name)),
        lambda: is_same_data(run_dir, resolved["data"]),
    )
    stored = stored_config(run_dir)
    if stored is None:
        notes.append(f"'{run_dir}' has no record of its configuration, which is therefore not compared")
    elif chosen := [str(change) for change in changes if not change.follows]:
        notes.append(f"resuming with other settings than before: {', '.join(chosen)}")
    found = {name: newest(checkpoints_of(run_dir / name)) for name in own if begun(checkpoints_of(run_dir / name))}
    done = [name for name in own if _is_done(run_dir / name, found.get(name), notes)]
    extended = [name for name in done if _limit(stored or resolved, name) != _limit(resolved, name)]
    for name in extended:
        followers = [other for other in used if name in _needs(phases[other]).values()]
        _check_extension(name, name in found, followers, changes)
        notes.append(f"phase {name} was finished, and trains on at the learning rates of the longer schedule")
    pending = [name for name in own if name not in done or name in extended]
    return Plan(True, pending, {name: found[name] for name in pending if name in found}, changes, notes)


def needed_by(name: str, phases: Mapping[str, Any], run_dir: Path) -> dict[str, Path]:
    """Arguments of a phase's module that are checkpoints of earlier phases: the given ones, or the last of this run."""
    found = {}
    for argument, earlier in _needs(phases[name]).items():
        if phases.get(earlier) is None:
            raise UserError(
                f"model.phases.{name}.needs.{argument}={earlier}, but that phase is left out; "
                f"name another phase, or null for none"
            )
        found[argument] = Path(phases[earlier].get("given") or checkpoints_of(run_dir / earlier) / LAST)
    return found


def _needs(spec: Mapping[str, Any]) -> dict[str, str]:
    return {argument: earlier for argument, earlier in (spec.get("needs") or {}).items() if earlier is not None}


def _is_done(folder: Path, newest: Resumption | None, notes: list[str]) -> bool:
    """Whether a phase ended, and its outcome and last checkpoint can be read; else the rest is trained again."""
    if not (folder / DONE).exists():
        return False
    try:
        read_json(folder / DONE)
    except UserError as error:
        notes.append(f"{str(error).partition(';')[0]}; it is written anew")
        return False
    if newest is None or newest.path.name == LAST:
        return True
    notes.append(f"phase {folder.name} ended, but its last checkpoint is lost: the steps before it are repeated")
    return False


def _limit(config: Mapping[str, Any], name: str) -> Any:
    """Epochs and steps after which a phase ends."""
    spec = config["model"]["phases"].get(name) or {}
    trainer = {**config["trainer"], **spec.get("trainer", {}), **config["limits"]}
    return trainer.get("max_epochs"), trainer.get("max_steps")


def _check_extension(name: str, is_kept: bool, followers: list[str], changes: list[Change]) -> None:
    """Reject more epochs for a finished phase that another one has started from, or whose checkpoints are gone."""
    if followers or not is_kept:
        grown = [c for c in changes if c.grows and name in c.key] or [c for c in changes if c.grows]
        why = f"phase {followers[0]} has started from it" if followers else "its checkpoints are gone"
        raise UserError(
            f"phase {name} is finished, and {why}; give "
            f"{' '.join(f'{c.key}={c.old}' for c in grown)} as before, or start another run in another hydra.run.dir"
        )


def _resumes(ckpt_path: Any) -> bool:
    if ckpt_path not in (None, "last"):
        raise UserError(
            f"ckpt_path={ckpt_path} is not 'last'; a run is resumed in its own directory: "
            "ckpt_path=last hydra.run.dir=RUN"
        )
    return ckpt_path == "last" or int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
