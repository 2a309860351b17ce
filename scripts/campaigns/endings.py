"""Commands that signals and scarce resources end: one line, the right exit status, nothing left; trainings resume."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from scripts.campaigns.commands import PLUGIN, RELEASE, RESULTS, Commands, End, session, wait
from tests.support.configs import FILMS

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
TWICE, KILLED = "SIGINT twice", "a killed worker"
SCARCE = {  # what is short: how a shell arranges that, and what the answer says
    "a full disk": ('mkdir "$out"; mount -t tmpfs -o size=64k none "$out"', "No space left|is full|are free"),
    "a disk that fills": ('mkdir "$out"; mount -t tmpfs -o size="$room" none "$out"', "No space left|is full|are free"),
    "few files": ("ulimit -n 32", "32 open files are too few"),
    "a small /dev/shm": ("mount -t tmpfs -o size=64k none /dev/shm", "/dev/shm is too small"),
    "little memory": ("ulimit -v 1500000", "memory"),
}
ROOM = {"train": "700k", "predict": "1100k", "motion": "1100k", "prepare": "1200k", "convert": "3m"}
RUN = '"$@"; status=$?; find "$out" -name .partial -printf "left: %p\\n" 2>/dev/null >&2; exit $status'


@dataclass(frozen=True)
class Ending:
    """One command, the way in which it was ended, its answer, and what is wrong with it; empty where nothing is."""

    command: str
    way: str
    end: End
    wrong: str


class Endings:
    """Ends commands early.

    Args:
        folder: for inputs and results; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.inputs = folder, Commands(folder / "inputs")
        network, video, cache = self.inputs.network, self.inputs.video, f"paths.cache={self.inputs.cache}"
        training = [*self.inputs.training, "data.workers=2"]
        self.commands: dict[str, list[str]] = {
            "train": [*training, "hydra.run.dir=OUT"],
            "train --multirun": [*training, "seed=0,1", "model.phases.low=null", "hydra.sweep.dir=OUT"],
            "eval": [PLUGIN, f"checkpoint={network}", cache, "hydra.run.dir=OUT"],
            "predict": [PLUGIN, f"checkpoint={network}", f"source={video}", "output=OUT", "save_labels=true"],
            "motion": [f"source={video}", "output=OUT", "video.motion=estimate"],
            "benchmark": ["network=bisenet18", "input.height=256", "input.width=512", "hydra.run.dir=OUT"],
            "prepare": ["data=street", *FILMS[1:3], "data.source.films={train:9,val:1}", "paths.cache=OUT"],
            "convert": [f"name={RELEASE}", f"source={self.inputs.release}", "output=OUT/net.ckpt"],
            "report": [f"runs={self.inputs.run_dir.parent}"],
        }
        self.commands["prepare"] += ["data.workers=2", "data.source.length=300"]
        self.durations: dict[str, float] = {}

    def end_once(self, case: tuple[str, str], seed: int) -> Ending:
        """Start a command, end it in one of the ways at a random moment, and look at what it leaves."""
        (name, way), out = case, self.folder / str(seed)
        rng = np.random.default_rng(seed)
        if way in SCARCE:
            end = self._with_little(name, way, out)
            return Ending(name, way, end, self._wrong(name, end, 2, SCARCE[way][1], out))
        moment = float(rng.uniform(0, self._duration(name)))
        process = self._start(name, out)
        if way == KILLED:
            _kill_child(process, moment)
            end, status, says = wait(process), 2, "process|worker"
        else:
            number = signal.Signals[way.split()[0]]
            while not _catches_signals(process.pid) and process.poll() is None:
                time.sleep(0.002)
            time.sleep(moment)
            _send(process, number)
            if way == TWICE:
                time.sleep(0.5)
                _send(process, number)
            end, status, says = wait(process), 128 + number, f"interrupted by {number.name}|{number.name} again"
        wrong = self._wrong(name, end, status, says, out) or _left_running(process.pid)
        if not wrong and "ckpt_path=last" in end.last:
            again = self.inputs.end(name.split()[0], [*self._arguments(name, out), "ckpt_path=last"], self.folder)
            wrong = "" if again.status == 0 else f"does not resume: {again.errors[-300:]}"
        return Ending(name, way, end, wrong)

    def _wrong(self, name: str, end: End, status: int, says: str, out: Path) -> str:
        """Name what is wrong with an end; nothing where it is right."""
        done = end.status == 0 and (name not in RESULTS or (out / RESULTS[name]).exists())
        checks = {
            "hangs": end.status is None,
            f"exit status {end.status} for {status}": not done and end.status != status,
            "traceback": "Traceback" in end.errors,
            f"{len(end.errors)} characters of errors": len(end.errors) > 20_000,
            f"last line '{end.last[:300]}'": not done and not re.match(f"error: .*({says}).*; ", end.last),
            f"left: {list(out.rglob('.partial'))}": any(out.rglob(".partial")),
        }
        return ", ".join(check for check, failed in checks.items() if failed)

    def _with_little(self, name: str, way: str, out: Path) -> End:
        shell = f"{SCARCE[way][0]} && {RUN}"
        before = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", shell, "bash"]
        room = {"room": ROOM.get(name, "64k"), "out": str(out)}
        return self.inputs.end(name.split()[0], self._arguments(name, out), self.folder, before, **room)

    def _duration(self, name: str) -> float:
        """Seconds that a command runs undisturbed."""
        if name not in self.durations:
            end = wait(self._start(name, self.folder / f"undisturbed_{name.split()[-1]}"))
            if end.status != 0:
                raise RuntimeError(f"src.{name} ended with {end.status}: {end.errors[-2000:]}")
            self.durations[name] = end.seconds
        return self.durations[name]

    def _start(self, name: str, out: Path) -> subprocess.Popen[str]:
        return self.inputs.start(name.split()[0], self._arguments(name, out), self.folder)

    def _arguments(self, name: str, out: Path) -> list[str]:
        return [*name.split()[1:], *(argument.replace("OUT", str(out)) for argument in self.commands[name])]


def cases() -> Iterator[tuple[str, str]]:
    """Yield pairs of a command and a way to end it."""
    names = ("train", "train --multirun", "eval", "predict", "motion", "benchmark", "prepare", "convert", "report")
    yield from product(names, SIGNALS)
    yield from product(("train", "train --multirun", "eval", "predict", "prepare"), (TWICE,))
    yield from product(("train", "prepare"), (KILLED, "few files"))
    yield from product(("train", "eval", "predict", "motion", "benchmark", "prepare", "convert"), ("a full disk",))
    yield from product(ROOM, ("a disk that fills",))
    yield from product(("train", "predict", "prepare"), ("little memory",))
    yield "train", "a small /dev/shm"


def _send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal as a terminal or scheduler does: to all processes of the command."""
    if process.poll() is None:
        os.killpg(process.pid, number)


def _kill_child(process: subprocess.Popen[str], latest: float) -> None:
    """Kill one of the processes that work for a command, within some seconds of its start."""
    while process.poll() is None:
        found = [child for child in session(process.pid) if child != process.pid and not _tracks(child)]
        if found:
            time.sleep(latest / 10)
            with suppress(ProcessLookupError):  # it has ended by itself; there may be others
                if not _tracks(found[0]):  # as is seen once it runs its own program
                    os.kill(found[0], signal.SIGKILL)
                    return
        time.sleep(0.01)


def _tracks(process: int) -> bool:
    """Whether a process is multiprocessing's own, or is none any more."""
    try:
        return re.search(b"resource_tracker|forkserver", Path(f"/proc/{process}/cmdline").read_bytes()) is not None
    except OSError:
        return True


def _catches_signals(process: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def _left_running(leader: int, patience: int = 10) -> str:
    """Name processes of a session that are there after some seconds."""
    for _ in range(20 * patience):
        if not session(leader):
            return ""
        time.sleep(0.05)
    return f"processes: {session(leader)}"
