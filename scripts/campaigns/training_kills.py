"""SIGKILL of trainings at random steps, then resume: files must be those of an undisturbed run, bit for bit."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from tests.support import configs, trainings
from tests.support.processes import finish, start

EXACT = ["+callbacks.kill={_target_: scripts.campaigns.training_kills.Killer}", "callbacks.last.every_n_steps=2"]
AVERAGED = [
    "callbacks=ema", "callbacks.ema.decay=0.7", "data.distance=balanced", "trainer.accumulate_grad_batches=2"
]  # fmt: skip
METHODS = {
    "arseg": [*configs.ARSEG, *AVERAGED, "data.workers=1", *EXACT],
    "tdnet": [*configs.TDNET, *EXACT],
}
STEPS = {"arseg": {"high": 12, "low": 12}, "tdnet": {"stills": 12}}  # batches of each phase that is killed


class Killer(L.Callback):
    """Kills its process at the start of a batch, or some time after it: KILL_AT=PHASE:BATCH:SECONDS."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        phase, number, delay = os.environ.get("KILL_AT", "none:0:0").split(":")
        if pl_module.metadata["phase"] == phase and trainer.fit_loop.total_batch_idx == int(number):
            if float(delay) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL)).start()


@dataclass(frozen=True)
class Kill:
    """One kill, and what differs after the run that resumed; empty where nothing does."""

    method: str
    place: str
    wrong: str


class TrainingKills:
    """Kills trainings of AR-Seg and TDNet.

    Args:
        folder: for runs and clips; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        self.undisturbed: dict[str, Path] = {}

    def kill_once(self, method: str, seed: int) -> Kill:
        """Start, kill at a random batch and a random moment more, resume, compare."""
        rng = np.random.default_rng(seed)
        phase = str(rng.choice(list(STEPS[method])))
        return self.kill_at(method, f"{phase}:{rng.integers(STEPS[method][phase])}:{rng.uniform(0, 0.3):.3f}")

    def kill_at(self, method: str, place: str) -> Kill:
        """Start, kill at PHASE:BATCH:SECONDS, resume, compare."""
        if method not in self.undisturbed:
            self.undisturbed[method] = self.folder / method
            self._run(method, self.undisturbed[method], "none:0:0", resumed=False)
        run_dir = self.folder / f"{method}_{place.replace(':', '_')}"
        self._run(method, run_dir, place, resumed=False)
        self._run(method, run_dir, "none:0:0", resumed=bool(list(run_dir.glob("*/checkpoints/last.ckpt"))))
        return Kill(method, place, difference(run_dir, self.undisturbed[method]))

    def _run(self, method: str, run_dir: Path, place: str, resumed: bool) -> None:
        overrides = [*METHODS[method], f"paths.cache={self.cache}", *(["ckpt_path=last"] if resumed else [])]
        log = self.folder / f"{run_dir.name}.log"
        process = start(trainings.run, run_dir, overrides, log=log, KILL_AT=place)
        if place == "none:0:0":
            finish(process, log)
        else:
            process.join()


def difference(found: Path, expected: Path) -> str:
    """Which files of two runs differ, and where; empty if none."""
    wrong = []
    for path in sorted(expected.glob("*/checkpoints/*.ckpt")):
        if path.name == "previous.ckpt":
            continue
        wrong += [
            f"{path.relative_to(expected)}: {place}"
            for place in unequal(_content(found / path.relative_to(expected)), _content(path))
        ]
    for path in sorted([*expected.glob("*/metrics.csv"), *expected.glob("*/done.json")]):
        if (found / path.relative_to(expected)).read_text() != path.read_text():
            wrong.append(str(path.relative_to(expected)))
    return ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")


def _content(path: Path) -> dict[str, Any]:
    """A checkpoint without what names this run.

    ModelCheckpoint saves its `current_score`, but neither restores nor reads it: after resuming it is empty until the
    next score that is a new best.
    """
    content: dict[str, Any] = torch.load(path, weights_only=True)
    del content["metadata"], content["digest"]  # the digest covers what names the run, too
    for state in content["callbacks"].values():
        for key in [key for key in state if key.endswith("path") or key in ("best_k_models", "current_score")]:
            del state[key]
    return content


def unequal(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Where two nested values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys(), key=str)
        missing = [f"{place}/{key}" for key in keys if (key in ours) != (key in theirs)]
        both = [key for key in keys if key in ours and key in theirs]
        return missing + [w for key in both for w in unequal(ours[key], theirs[key], f"{place}/{key}")]
    if isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)) and len(ours) == len(theirs):
        return [w for i, pair in enumerate(zip(ours, theirs, strict=True)) for w in unequal(*pair, f"{place}/{i}")]
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor) and ours.shape == theirs.shape:
        apart, largest = (ours.double() - theirs.double()).abs().max(), theirs.double().abs().max()
        return [] if torch.equal(ours, theirs) else [f"{place} (by {apart:.1e}, largest {largest:.1e})"]
    return [] if type(ours) is type(theirs) and ours == theirs else [place]
