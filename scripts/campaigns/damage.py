"""Randomly damaged files: each is named in one error, or left out with a warning; nothing hangs, nothing is torn."""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scripts.campaigns.kills import contents
from src.data.clips.cache import clip_key, prepare
from src.data.clips.check import faults
from src.data.clips.files import place_of, read_record
from src.data.clips.recipes import ClipsAtLabels, ClipsFromImages
from src.data.datasets.base import LabelledDataset
from src.data.datasets.camvid import CamVid
from src.data.datasets.cityscapes import Cityscapes
from src.data.datasets.download import Archive
from src.data.datasets.folder import Folder
from src.data.datasets.voc import Voc
from src.data.still_animation.motion import SceneMotion
from src.errors import UserError
from src.video.types import CodecSettings
from tests.support import miniatures

GOP, PATIENCE = 3, 600
ENCODING = CodecSettings("h264", GOP, 15, bitrate=300, preset="ultrafast")
AT_LABELS, FROM_STILLS = ClipsAtLabels("last", False), ClipsFromImages(1, "last", 0, SceneMotion())
STATISTICS: Any = ([0.4] * 3, [0.3] * 3)


@dataclass(frozen=True)
class DataSet:
    """A data set to be damaged: its miniature, how it is read, and the files that matter of one split."""

    make: Callable[[Path], Path]
    read: Callable[[str, str], LabelledDataset]
    recipe: ClipsAtLabels | ClipsFromImages
    files: tuple[str, ...]


DATA_SETS = {
    "cityscapes": DataSet(
        miniatures.cityscapes,
        lambda root, policy: Cityscapes(root, 17, *STATISTICS, policy),
        AT_LABELS,
        ("leftImg8bit_sequence/val/frankfurt/*", "gtFine/val/frankfurt/*labelIds.png"),
    ),
    "camvid": DataSet(
        miniatures.camvid_with_films,
        lambda root, policy: CamVid(root, False, True, 30, *STATISTICS, policy),
        AT_LABELS,
        ("0016E5.MXF", "LabeledApproved_full/0016E5_079*", "701_StillsRaw_full/0016E5_079*"),
    ),
    "voc": DataSet(
        miniatures.voc,
        lambda root, policy: Voc(root, Archive("", ""), False, *STATISTICS),
        FROM_STILLS,
        ("VOCdevkit/VOC2012/JPEGImages/20*_00*3*.jpg", "VOCdevkit/VOC2012/SegmentationClass/20*_00*3*.png"),
    ),
    "folder": DataSet(
        miniatures.folder,
        lambda root, policy: Folder(root, 25, *STATISTICS, policy),
        AT_LABELS,
        ("val/films/ride.mp4", "val/films/walk/*", "val/labels/ride/*", "val/labels/walk/*"),
    ),
}
KINDS = ("cut", "flips", "size", "zero", "foreign")


@dataclass(frozen=True)
class Case:
    """What was damaged, and what came of it.

    Attributes:
        outcome: "named" in the error, "skipped" with a warning, "unharmed" (all clips as without the damage),
            "unnoticed" (the codec has no checksum: the pictures differ), or else what went wrong.
    """

    archive: str
    kind: str
    path: str
    policy: str
    outcome: str

    @property
    def is_good(self) -> bool:
        """Whether the promise was kept."""
        checked = self.path.endswith(".png") and self.kind != "foreign"
        return self.outcome in ("named", "skipped", "unharmed") or (self.outcome == "unnoticed" and not checked)


class DamageCampaign:
    """Prepares miniatures in which one file is damaged.

    Args:
        folder: for data and caches; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sound: dict[str, set[bytes]] = {}

    def damage_once(self, seed: int) -> Case:
        """One random case."""
        rng = np.random.default_rng(seed)
        name, kind = list(DATA_SETS)[seed % len(DATA_SETS)], str(rng.choice(KINDS))
        policy = str(rng.choice(["stop", "skip"]))
        archive, pristine = DATA_SETS[name], self._pristine(name)
        root, cache = self.folder / f"case{seed}", self.folder / f"cache{seed}"
        shutil.copytree(pristine, root)
        matching = sorted(root.glob(str(rng.choice(archive.files))))
        path = damage(matching[int(rng.integers(len(matching)))], kind, rng)
        outcome = self._outcome(name, root, cache, policy, path)
        shutil.rmtree(root)
        shutil.rmtree(cache, ignore_errors=True)
        return Case(name, kind, str(path.relative_to(root)), policy, outcome)

    def _pristine(self, name: str) -> Path:
        root = self.folder / name
        if name not in self.sound:
            DATA_SETS[name].make(root)
            self._prepare(name, root, self.folder / f"{name}_cache", "stop")
            self.sound[name] = films(self.folder / f"{name}_cache")
        return root

    def _prepare(self, name: str, root: Path, cache: Path, policy: str) -> list[str]:
        """Faults of what was made."""
        archive = DATA_SETS[name]
        jobs = archive.recipe.jobs(archive.read(str(root), policy), "val", GOP)
        prepare(jobs, ENCODING, cache, 1, policy)
        made = [job for job in jobs if read_record(place_of(cache, clip_key(job, ENCODING))) is not None]
        return faults(made, ENCODING, cache)

    def _outcome(self, name: str, root: Path, cache: Path, policy: str, path: Path) -> str:
        warnings = _Warnings()
        logging.getLogger("src").addHandler(warnings)
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(PATIENCE)
        try:
            torn = self._prepare(name, root, cache, policy)
        except UserError as error:
            if _leftovers(cache):
                return f"torn: {_leftovers(cache)}"
            if policy == "skip" and any(names(message, path) for message in warnings.messages):
                return "skipped"  # and no clip is left
            if policy == "skip":
                return f"an error where a warning was due: {error}"
            return "named" if names(str(error), path) else f"an error that does not name the file: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
            logging.getLogger("src").removeHandler(warnings)
        if torn or _leftovers(cache):
            return f"torn: {torn or _leftovers(cache)}"
        if any(names(message, path) for message in warnings.messages):
            return "skipped" if policy == "skip" else "a warning where an error was due"
        return "unharmed" if films(cache) == self.sound[name] else "unnoticed"


def damage(path: Path, kind: str, rng: np.random.Generator) -> Path:
    """Damage a file; the damaged one, which under "foreign" is a new one beside it."""
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[: int(rng.integers(1, len(content)))])
    elif kind == "flips":
        flipped = bytearray(content)
        for position in rng.integers(0, len(content), int(rng.integers(1, 50))):
            flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(flipped))
    elif kind == "zero":
        path.write_bytes(b"")
    elif kind == "size" and path.suffix in (".png", ".jpg"):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), picture[: 8 * int(rng.integers(1, 4)), :32])
    elif kind == "size":
        path.write_bytes(content + content[: len(content) // 2])
    else:
        path = path.with_name(str(rng.choice(["Thumbs.db", "copy of ", "._"])) + path.name)
        path.write_bytes(rng.bytes(500))
    return path


def names(message: str, path: Path) -> bool:
    """Whether a message names a file, or the still, film or frame that it belongs to."""
    return path.name in message or path.stem in message


def films(cache: Path) -> set[bytes]:
    """The content of all films of a cache; their names depend on the times of the source files."""
    return {content for name, content in contents(cache).items() if name.endswith(".mp4")}


def _leftovers(cache: Path) -> list[str]:
    return [name for name in (contents(cache) if cache.exists() else {}) if name.startswith(".")]


def _too_long(*_: object) -> None:
    raise TimeoutError(f"no end after {PATIENCE} s")


class _Warnings(logging.Handler):
    """Keeps what is logged as a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
