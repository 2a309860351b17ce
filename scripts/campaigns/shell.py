"""Type the lines of command_lines.txt in a shell, each in a folder of its own, and judge the answers."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from scripts.campaigns import altered_data
from scripts.campaigns.commands import PATIENCE, PLUGIN, Commands, End, environment, session
from tests.support.configs import ARSEG, FILMS, ROOT, TINY
from tests.support.processes import CONTEXT, start

LONGEST = 1200  # characters of an answer
STEP = ["model.high_epochs=1", "model.low_epochs=1", "+limits.limit_train_batches=1", "+limits.limit_val_batches=2"]
READ = ["data.crop=[32,48]", "data.batch_size=2", "data.workers=0", "data.val_distances=[3]", "data.val_stride=1"]
CODED = ["video.gop=4", "video.preset=veryfast"]
FUNCTIONS = """
readonly() { mkdir "$1"; chattr +i "$1" 2>/dev/null || chmod a-w "$1"; }
writable() { chattr -R -i "$1" 2>/dev/null; chmod -R u+w "$1"; }
hold() {  # the lock of a folder, until the session ends
  mkfifo held
  "$PYTHON" -c "import sys, time; from pathlib import Path; from src.locks import lock_folder
lock_folder(Path(sys.argv[1])); open('held', 'w').close(); time.sleep(600)" "$1" >/dev/null 2>&1 &
  read -r <held
  rm held
}
"""


ODD = "my ride (1), a=b #2 'ü'"


@dataclass(frozen=True)
class Line:
    """A command line and its right answer.

    Attributes:
        text: command and arguments.
        says: pattern of the line that refuses it; where it works, of its output.
        works: it ends with exit status 0 instead of 2.
        leaves: a file that it leaves.
        before: shell code that makes its surroundings.
    """

    text: str
    says: str
    works: bool
    leaves: str
    before: str


@dataclass(frozen=True)
class Answer:
    """The answer to a line, and what is wrong with it; empty where nothing is."""

    line: Line
    end: End
    wrong: str


def read_lines() -> list[Line]:
    """Return the lines of command_lines.txt."""
    texts = Path(__file__).with_name("command_lines.txt").read_text().splitlines()
    return [_line(text) for text in texts if text and not text.startswith("#")]


def _line(text: str) -> Line:
    typed, _, says = text.partition("  =>  ")
    typed, works, leaves = typed.partition("  ->")
    before, _, command = typed.rpartition(" :: ")
    re.compile(says)
    return Line(command, says, bool(works), leaves.strip(), before)


class Shell:
    """Types lines.

    Args:
        folder: for inputs and results; empty.
    """

    def __init__(self, folder: Path) -> None:
        CONTEXT.set_forkserver_preload(["src.commands.train", "src.training.modules.segmentation", __name__])
        self.folder, self.inputs = folder, folder / "inputs"
        commands = Commands(self.inputs)
        own = [PLUGIN, TINY, "data=folder", *READ, *CODED, *ARSEG, *STEP, f"paths.cache={commands.cache}"]
        words = {
            "training": commands.training,
            "small": [*commands.training, *STEP],
            "own": own,
            "few": ["data=street", *FILMS[:4], "data.workers=0", *CODED],
            "net": [PLUGIN, f"paths.cache={commands.cache}"],
            "tiny": [PLUGIN],
            "new": ["hydra.run.dir=new"],
        }
        self.words = {name: shlex.join(given) for name, given in words.items()}
        paths = {"run": commands.run_dir, "network": commands.network, "video": commands.video, "inputs": self.inputs}
        paths |= {"release": commands.release}
        paths |= {name: altered_data.make(name, self.inputs / name) for name in altered_data.NAMES}
        self.words |= {name: shlex.quote(str(path)) for name, path in paths.items()}
        self.words["odd"] = ODD
        self._numbers, self._run_dir = itertools.count(1), threading.Lock()

    def type(self, line: Line) -> Answer:
        """Type a line, and judge the answer."""
        folder = self.folder / f"{next(self._numbers)}"
        folder.mkdir()
        words = f"{FUNCTIONS}\n{self._filled(line.before)}\nprintf '%s\\0' {self._filled(line.text)}"
        shell = subprocess.Popen(
            ["bash", "-c", words],
            cwd=folder,
            env=environment(PYTHON=sys.executable),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        name, *arguments = shell.communicate()[0].decode().split("\0")[:-1]
        uses_run = "{run}" in line.text  # whose lock one command at a time holds
        with self._run_dir if uses_run else nullcontext():
            before = self._state(uses_run)
            end = _run(name, arguments, folder)
            changed = {path for path, _ in before ^ self._state(uses_run)}
        for member in session(shell.pid):
            os.kill(member, signal.SIGKILL)
        subprocess.run(["bash", "-c", f"{FUNCTIONS}\nwritable ."], cwd=folder, check=False)
        return Answer(line, end, verdict(line, end, changed, folder))

    def _filled(self, text: str) -> str:
        for name, value in self.words.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _state(self, with_run: bool) -> set[tuple[str, tuple[int, int]]]:
        """Files of the inputs, with size and time of change; a cache may grow, and locks are taken."""
        left_out = [self.inputs / "cache"] + ([] if with_run else [self.inputs / "run"])
        files = (path for path in self.inputs.rglob("*") if path.is_file() and path.name != ".lock")
        kept = (path for path in files if not any(path.is_relative_to(folder) for folder in left_out))
        return {(str(path), (path.stat().st_size, path.stat().st_mtime_ns)) for path in kept}


def _run(name: str, arguments: list[str], folder: Path) -> End:
    """Run a command in a fork of a process that has imported what takes seconds."""
    log, began = folder.with_suffix(".err"), time.monotonic()
    process = start(_command, name, arguments, folder, log=log, HOME=str(folder), PYTHONPATH=str(ROOT))
    for _ in range(PATIENCE):  # as in `commands.wait`
        process.join(1)
        if process.exitcode is not None:
            break
    status = process.exitcode
    if status is None:
        for member in session(process.pid or 0):
            os.kill(member, signal.SIGKILL)
        process.join()
    output = folder.with_suffix(".out")
    texts = [path.read_text(errors="replace") if path.exists() else "" for path in (output, log)]
    return End(status, texts[0], texts[1], time.monotonic() - began)


def _command(name: str, arguments: list[str], folder: Path) -> None:
    """Be `python -m src.NAME` in a folder, with a file for standard output."""
    os.setsid()
    os.chdir(folder)
    for variable in os.environ.keys() - environment().keys():
        del os.environ[variable]
    with folder.with_suffix(".out").open("wb") as file:
        os.dup2(file.fileno(), 1)
    sys.argv[1:] = arguments
    try:
        runpy.run_module(f"src.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


def verdict(line: Line, end: End, changed: set[str], folder: Path) -> str:
    """Name what is wrong with an answer; nothing where it is right."""
    text = end.output + end.errors
    checks = {
        "hangs": end.status is None,
        "traceback": "Traceback" in text,
        f"exit status {end.status}": end.status != (0 if line.works else 2),
        f"changed: {sorted(changed)[:3]}": bool(changed),
        f"left: {[str(path) for path in folder.rglob('.partial')]}": any(folder.rglob(".partial")),
    }
    if line.works:
        checks |= {
            f"no {line.leaves}": bool(line.leaves) and not (folder / line.leaves.replace("{odd}", ODD)).exists(),
            f"no warning '{line.says}'": not re.search(line.says, text),
            "a score that is no number": not all(map(_is_scored, folder.rglob("done.json"))),
        }
    else:
        checks |= {
            "no answer": not end.last.startswith("error: "),
            f"does not say '{line.says}'": not re.search(line.says, end.last),
            "no remedy": not re.search("; |did you mean", end.last),
            f"{len(end.last)} characters": len(end.last) > LONGEST,
        }
    return ", ".join(check for check, failed in checks.items() if failed)


def _is_scored(done: Path) -> bool:
    found = json.loads(done.read_text())
    return all(
        value is not None and math.isfinite(value) for key, value in found.items() if key in ("val/miou", "best")
    )
