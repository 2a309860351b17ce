"""SIGKILL of `src.prepare` at random moments, then resume: files must be those of an undisturbed run, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.data.clips.files import UNFINISHED
from tests.support import miniatures

PATIENCE = 900  # seconds that a run may take on a busy machine


@dataclass(frozen=True)
class Kill:
    """One kill: how many files there were, and what is wrong after the run that resumed; empty where nothing is."""

    files: int
    wrong: str


class KillCampaign:
    """Kills runs that prepare a miniature of Cityscapes.

    Args:
        folder: for data and caches; empty.
        workers: processes of each run.
        size: height and width of the images; large, so that a clip takes a while.
    """

    def __init__(self, folder: Path, workers: int = 2, size: tuple[int, int] = (256, 512)) -> None:
        self.folder, self.workers = folder, workers
        self.root = miniatures.cityscapes(folder / "root", size)
        self._run(folder / "undisturbed")
        self.expected = contents(folder / "undisturbed")

    def kill_once(self, seed: int) -> Kill:
        """Start, kill after a random number of files and a random moment more, resume, compare."""
        rng = np.random.default_rng(seed)
        cache = self.folder / f"killed{seed}"
        process = self._start(cache)
        wanted, begin = int(rng.integers(0, len(self.expected))), time.monotonic()
        while len(visible(cache)) < wanted and process.poll() is None and time.monotonic() - begin < PATIENCE:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.2)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        return self._resume(cache)

    def kill_at(self, files: int) -> Kill:
        """Start, kill as soon as so many files are in place, resume, compare."""
        cache = self.folder / f"killed_at{files}"
        self._start(cache, "scripts.campaigns.killed_preparation", KILL_AT=str(files)).wait(PATIENCE)
        return self._resume(cache)

    def _resume(self, cache: Path) -> Kill:
        files = len(visible(cache))
        self._run(cache)
        return Kill(files, difference(contents(cache), self.expected))

    def _start(self, cache: Path, module: str = "src.prepare", **environment: str) -> subprocess.Popen[bytes]:
        settings = [
            "video.gop=8",
            "video.bitrate=400",
            f"data.workers={self.workers}",
            "data.module.clips.distances=all",
        ]
        command = [sys.executable, "-m", module, "data=cityscapes", f"data.root={self.root}"]
        output = (self.folder / f"{cache.name}.log").open("ab")
        command += [f"paths.cache={cache}", *settings]
        return subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})

    def _run(self, cache: Path) -> None:
        process = self._start(cache)
        try:
            failed = process.wait(PATIENCE) != 0
        finally:
            process.kill()
        if failed:
            raise RuntimeError((self.folder / f"{cache.name}.log").read_text())


def contents(cache: Path) -> dict[str, bytes]:
    """All files of a cache, hidden ones too."""
    return {str(p.relative_to(cache)): p.read_bytes() for p in cache.rglob("*") if p.is_file()}


def difference(found: dict[str, bytes], expected: dict[str, bytes]) -> str:
    """What is missing, too much or different; empty where nothing is."""
    names = found.keys() ^ expected.keys() | {n for n in found.keys() & expected.keys() if found[n] != expected[n]}
    return ", ".join(sorted(names))


def visible(cache: Path) -> list[Path]:
    """Files under their final names."""
    found = []
    for folder, _, files in os.walk(cache):  # which does not mind that folders go meanwhile
        found += [Path(folder) / name for name in files if UNFINISHED not in folder]
    return found
