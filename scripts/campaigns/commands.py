"""Commands of this project as a user starts them, each in a process of its own, on inputs of a few seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.support.configs import ARSEG, FILMS, ROOT, TINY
from tests.support.videos import pan, write
from tests.unit.checkpoints.official.parity import recipe

PATIENCE = 600  # seconds on a busy machine; what takes longer hangs
PLUGIN = "plugins=[tests.support.tiny_arseg]"
RELEASE = "rdrnet_s_simple"
RESULTS = {  # the last file of each command; of one that has written it, nothing is missing
    "train": "low/done.json",
    "eval": "metrics.json",
    "predict": "timing.json",
    "motion": "vectors.npz",
    "benchmark": "metrics/benchmark.json",
    "prepare": "manifest.jsonl",
    "convert": "net.ckpt",
}


@dataclass(frozen=True)
class End:
    """How a command ended: exit status (None: it hung and was killed), standard output and error, seconds."""

    status: int | None
    output: str
    errors: str
    seconds: float

    @property
    def last(self) -> str:
        """The last line of standard error."""
        return (self.errors.strip().splitlines() or [""])[-1]


class Commands:
    """Starts commands, and holds what they read: a training, its network, a video and an official release.

    Args:
        folder: for these inputs; empty.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run_dir, self.cache, self.video = folder / "run", folder / "cache", folder / "video.mp4"
        self.network = self.run_dir / "low" / "checkpoints" / "last.ckpt"
        self.release = folder / "release.pth"
        self.training = [PLUGIN, TINY, *FILMS, *ARSEG, f"paths.cache={self.cache}"]
        write(self.video, pan(200, 240, 320, (1, 0)), "libx264")
        torch.save(recipe.state_dict(RELEASE), self.release)
        ended = self.end("train", [*self.training, f"hydra.run.dir={self.run_dir}"], folder)
        if ended.status != 0:
            raise RuntimeError(f"the training ended with {ended.status}: {ended.errors[-2000:]}")

    def start(
        self, name: str, arguments: Iterable[str], folder: Path, before: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[str]:
        """Start `python -m src.NAME` in a folder and a session of its own; `before` goes before it, as `nice` does."""
        return subprocess.Popen(
            [*before, sys.executable, "-m", f"src.{name}", *arguments],
            cwd=folder,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
        )

    def end(
        self, name: str, arguments: Iterable[str], folder: Path, before: Sequence[str] = (), **variables: str
    ) -> End:
        """Run a command to its end."""
        return wait(self.start(name, arguments, folder, before, **variables))


def environment(**variables: str) -> dict[str, str]:
    """Return environment variables by which commands are found in any folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_ROOT")}  # of data sets
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}


def wait(process: subprocess.Popen[str]) -> End:
    """Wait for a command; one that hangs is killed, with its children.

    Seconds are counted one by one, so that those in which both are stopped do not count.
    """
    began = time.monotonic()
    for _ in range(PATIENCE):
        with suppress(subprocess.TimeoutExpired):
            output, errors = process.communicate(timeout=1)
            return End(process.returncode, output, errors, time.monotonic() - began)
    for member in session(process.pid):
        os.kill(member, 9)
    return End(None, *process.communicate(), time.monotonic() - began)


def session(leader: int) -> list[int]:
    """Processes of a session that are there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == leader and ") Z " not in (path / "stat").read_text():
                found.append(int(path.name))
        except OSError:
            continue
    return found
