"""Hostile and damaged checkpoints and .pth files: each is rejected in one line, in bounded memory and time.

Every case is read in a child process of its own, with a limit of memory and of time.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.campaigns.hostile_content import INF, METADATA, NAN, RELEASES, archived, bombs, hostile_files, saved
from src.checkpoints.digest import serialise
from src.checkpoints.load import load_checkpoint
from src.checkpoints.official.load import convert
from src.errors import UserError
from src.tensor_files.read import read_state_dict
from src.training.callbacks.checkpoint import WholeFileIO
from tests.support.tiny_runner import AR, CLASSES, IMAGE, save_checkpoint
from tests.unit.checkpoints.official.parity import recipe

MEMORY, PATIENCE, LONGEST = 256 << 20, 60, 1000  # bytes more than before, seconds of a core, characters of an answer
RELEASE = "rdrnet_s_simple"
Case = tuple[str, str, bytes]  # how it is read, what was done, the file


@dataclass(frozen=True)
class Answer:
    """What came of a case.

    Attributes:
        outcome: "rejected" in one line, "unharmed" (loaded, the same as without the damage), "unnoticed" in a format
            without checksums, or what went wrong: "traceback", "silent", "hang", "memory", "crash".
        detail: the message.
    """

    kind: str
    outcome: str
    detail: str

    @property
    def is_good(self) -> bool:
        """Whether the promise was kept."""
        return self.outcome in ("rejected", "unharmed", "unnoticed")


class HostileFiles:
    """Reads hostile files.

    Args:
        folder: for the files; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = save_checkpoint(folder / "sound.ckpt", AR)
        self.content: dict[str, Any] = torch.load(path, weights_only=True)
        moments = {name: torch.rand_like(value) for name, value in self.content["state_dict"].items()}
        trained = {**self.content, "global_step": 7, "optimizer_states": [{"state": {0: moments}}]}
        self.sound = {
            "checkpoint": serialise(trained).getvalue(),
            "resume": serialise(trained).getvalue(),
            "undigested": saved(trained),
            "pth": saved({"state_dict": self.content["state_dict"], "meta": {"hub": {1, 2}}}),
            "legacy": saved({"state_dict": self.content["state_dict"]}, _use_new_zipfile_serialization=False),
        }
        self.expected = {reader: self._read(reader, self._write(data)) for reader, data in self.sound.items()}

    def edited(self) -> Iterator[Case]:
        """Checkpoints whose content was changed, and other files in their place."""
        for place, values in METADATA.items():
            yield from (("edited", f"{place}={value!r}"[:60], self._with(place, value)) for value in values)
        for what, state in self._states().items():
            yield "edited", what, saved({**self.content, "state_dict": state})
        yield from (("edited", what, data) for what, data in hostile_files())

    def releases(self) -> Iterator[Case]:
        """Official files whose content was changed, other files in their place, and all that unpack to much."""
        for what, state in self._states().items():
            yield "release", what, saved(state)
        official = recipe.state_dict(RELEASE)
        for what, change in RELEASES.items():
            state = dict(official)
            change(state, next(iter(state)))
            yield "release", what, saved(state)
        yield "release", "contained in itself", archived(b"}q\x00X\x05\x00\x00\x00modelh\x00s.", {})
        yield from (("release", what, data) for what, data in hostile_files())
        for what, data in bombs():
            yield from ((reader, what, data) for reader in ("edited", "release"))

    def _states(self) -> dict[str, Any]:
        weights = self.content["state_dict"]
        first = next(iter(weights))
        return {
            "NaN weights": {key: torch.full_like(value, NAN) for key, value in weights.items()},
            "an infinite weight": {**weights, first: torch.full_like(weights[first], INF)},
            "integer weights": {key: value.int() for key, value in weights.items()},
            "no weights": {},
            "other things than weights": {key: "x" for key in weights},
            "weights that are one list": list(weights.values()),
            "sparse weights": {key: value.to_sparse() for key, value in weights.items()},
            "names that are numbers": dict(enumerate(weights.values())),
            "nothing": None,
            "a tensor": torch.ones(3),
        }

    def damaged(self, seed: int) -> Case:
        """One random damage."""
        rng = np.random.default_rng(seed)
        reader = list(self.sound)[seed % len(self.sound)]
        data, kind = bytearray(self.sound[reader]), str(rng.choice(["flip", "flips", "cut", "zeros", "grown", "moved"]))
        place = int(rng.integers(1, len(data)))
        if kind.startswith("flip"):
            for position in rng.integers(0, len(data), 1 if kind == "flip" else int(rng.integers(2, 50))):
                data[position] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del data[place:]
        elif kind == "zeros":
            data[place : place + 200] = bytes(len(data[place : place + 200]))
        elif kind == "grown":
            data[place:place] = rng.bytes(100)
        else:
            data = data[place:] + data[:place]
        return reader, f"{kind} {seed}", bytes(data)

    def ask(self, case: Case) -> Answer:
        """Read a case in a process of its own."""
        reader, what, data = case
        path = self._write(data)
        processes = multiprocessing.get_context("fork")
        ours, theirs = processes.Pipe(duplex=False)
        child = processes.Process(target=self._answer, args=(reader, path, theirs))
        child.start()
        theirs.close()
        kind = f"{reader}: {what}"
        if not ours.poll(20 * PATIENCE):  # a child that waits for something
            child.kill()
        try:
            outcome, detail = ours.recv()
        except EOFError:
            child.join()
            if child.exitcode in (-signal.SIGXCPU, -signal.SIGKILL):
                return Answer(kind, "hang", f"no answer in {PATIENCE} s of a core")
            return Answer(kind, "crash", f"exit status {child.exitcode}")
        child.join()
        return Answer(kind, outcome, detail)

    def _answer(self, reader: str, path: Path, answers: Connection) -> None:
        torch.set_num_threads(1)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE + 1))
        try:
            found = self._read(reader, path)
            same = reader in self.expected and _same(found, self.expected[reader])
            outcome = "unharmed" if same else "unnoticed" if reader == "legacy" else "silent"
            answers.send((outcome, ""))
        except UserError as error:
            cause, message = error.__cause__, str(error)
            if isinstance(cause, MemoryError) or "allocate" in str(cause):
                answers.send(("memory", message))
            elif "\n" in message or len(message) > LONGEST or not message.isprintable():
                answers.send(("traceback", f"more than one line: {message!r}"))
            else:
                answers.send(("rejected", message))
        except Exception as error:
            answers.send(("traceback", repr(error)))

    def _read(self, reader: str, path: Path) -> Any:
        if reader == "resume":
            return WholeFileIO().load_checkpoint(path)
        if reader == "release":
            return convert(RELEASE, path)
        if reader in ("pth", "legacy"):
            return read_state_dict(path, "download it again", foreign=True)
        loaded = load_checkpoint(path)
        return {"weights": loaded.network.state_dict(), "metadata": loaded.metadata}

    def _write(self, data: bytes) -> Path:
        path = self.folder / "case.ckpt"
        path.write_bytes(data)
        return path

    def _with(self, place: str, value: Any) -> bytes:
        """Edited metadata, in a file that carries no digest; of the single-frame network."""
        content = torch.load(save_checkpoint(self.folder / "image.ckpt", IMAGE), weights_only=True)
        content["metadata"]["network"]["arguments"] = {"num_classes": len(CLASSES)}
        content = copy.deepcopy(content)
        *above, key = place.split(".")
        node = content["metadata"]
        for part in above:
            node = node[part]
        node[key] = value
        return saved(content)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
