"""Signals to every command at random moments: one line, exit status 128 + number, nothing left; training resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.configs import ROOT, TINY
from tests.support.trainings import ARSEG, FILMS
from tests.support.videos import pan, write

PATIENCE = 900  # seconds on a busy machine
PLUGIN = "plugins=[tests.support.tiny_arseg]"
RESULTS = {  # the last file of each command; one that has written it was done when the signal came
    "train": "low/done.json",
    "eval": "metrics.json",
    "predict": "timing.json",
    "motion": "vectors.npz",
    "benchmark": "metrics/benchmark.json",
    "prepare": "manifest.json",
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Ending:
    """One signal to a command, how that ended, and what is wrong; empty where nothing is."""

    command: str
    signal: str
    seconds: float
    status: int
    wrong: str


class Endings:
    """Sends signals to commands on a training, a checkpoint and a video of a few seconds.

    Args:
        folder: for runs, clips and outputs; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cache = f"paths.cache={folder / 'cache'}"
        video, network = folder / "video.mp4", folder / "undisturbed_train/high/checkpoints/last.ckpt"
        write(video, pan(200, 240, 320, (1, 0)), "libx264")
        training = [PLUGIN, TINY, *FILMS, *ARSEG, cache, "data.workers=2"]
        self.commands: dict[str, list[str]] = {
            "train": [*training, "hydra.run.dir=OUT"],
            "eval": [PLUGIN, f"checkpoint={network}", cache, "hydra.run.dir=OUT"],
            "predict": [PLUGIN, f"checkpoint={network}", f"source={video}", "output=OUT", "save_labels=true"],
            "motion": [f"source={video}", "output=OUT", "video.motion=estimate"],
            "benchmark": ["network=bisenet18", "input.height=256", "input.width=512", "hydra.run.dir=OUT"],
            "prepare": ["data=street", "data.source.films={train:4,val:1}", "paths.cache=OUT", "data.workers=2"],
            "report": [f"runs={folder}"],
        }
        self.durations: dict[str, float] = {}

    def end_once(self, seed: int) -> Ending:
        """Start a command, send it a signal at a random moment after its first, and look at what it leaves."""
        rng = np.random.default_rng(seed)
        name, number = list(self.commands)[seed % len(self.commands)], SIGNALS[int(rng.integers(len(SIGNALS)))]
        moment, out = float(rng.uniform(0, self._duration(name))), self.folder / f"{name}_{seed}"
        process = self._start(name, out)
        while not _catches_signals(process.pid) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moment)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
        wrong = self._wrong(name, process, 128 + number, errors, out)
        if not wrong and name == "train" and "ckpt_path=last" in errors:
            again = self._start(name, out, "ckpt_path=last")
            _, errors = again.communicate(timeout=PATIENCE)
            wrong = "" if again.returncode == 0 else f"does not resume: {errors[-300:]}"
        return Ending(name, number.name, moment, process.returncode, wrong)

    def _wrong(self, name: str, process: subprocess.Popen[str], expected: int, errors: str, out: Path) -> str:
        """What is wrong with an end; empty where nothing is."""
        lines = errors.strip().splitlines() or [""]
        left = [str(path) for path in out.rglob(".partial")]
        children = _session(process.pid)
        if process.returncode == 0 and (name == "report" or (out / RESULTS[name]).exists()):
            expected = 0
        checks = {
            f"exit status {process.returncode} for {expected}": process.returncode != expected,
            "traceback": "Traceback" in errors,
            f"last line '{lines[-1][:200]}'": expected > 0 and not lines[-1].startswith("error: interrupted by"),
            f"left: {left}": bool(left),
            f"children: {children}": bool(children),
        }
        return ", ".join(check for check, failed in checks.items() if failed)

    def _duration(self, name: str) -> float:
        """Seconds that a command runs undisturbed; of the training, others need the checkpoint."""
        if name != "train":
            self._duration("train")
        if name not in self.durations:
            began = time.monotonic()
            process = self._start(name, self.folder / f"undisturbed_{name}")
            _, errors = process.communicate(timeout=PATIENCE)
            if process.returncode != 0:
                raise RuntimeError(f"src.{name} ended with {process.returncode}: {errors[-2000:]}")
            self.durations[name] = time.monotonic() - began
        return self.durations[name]

    def _start(self, name: str, out: Path, *overrides: str) -> subprocess.Popen[str]:
        arguments: Sequence[str] = [argument.replace("OUT", str(out)) for argument in self.commands[name]]
        return subprocess.Popen(
            [sys.executable, "-m", f"src.{name}", *arguments, *overrides],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def _catches_signals(process: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def _session(leader: int, patience: float = 10.0) -> list[int]:
    """Processes of a session that are still there after some seconds."""
    until, found = time.monotonic() + patience, [leader]
    while found and time.monotonic() < until:
        time.sleep(0.05)
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(path.name)) == leader and ") Z " not in (path / "stat").read_text():
                    found.append(int(path.name))
            except OSError:
                continue
    return found
