"""Prepared clips as a table of arrays, verified when they are first used."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from src.data.clips.files import LABELS, VIDEO, Job, flat_place_of, part_faults, place_of, read_record, write_clip
from src.data.clips.index import Entry
from src.data.images import ImageArray
from src.data.labels import IGNORE
from src.errors import UserError
from src.files import read_arrays
from src.video.types import CodecSettings

CUT = re.compile(r"(_\d{5,}_d\d{2,}|(_v\d+)?_from\d{2,})$")  # see `src.data.clips.recipes`

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A prepared clip.

    Attributes:
        name: for messages and results.
        video: written by `src.video.writing.encode`, an I frame every `gop` frames.
        labels: .npz with one label map (H, W) uint8 per labelled frame, named by the frame's index.
        start: index of the first frame in the sequence the clip was cut from.
        length: frames.
        gop: frames from keyframe to keyframe.
        labelled: indices of labelled frames.
        classes: K; labels are 0..K-1 or `IGNORE`.
    """

    name: str
    video: Path
    labels: Path
    start: int
    length: int
    gop: int
    labelled: tuple[int, ...]
    classes: int = IGNORE

    @property
    def source(self) -> str:
        """Name of the video that it was cut from; that of the clip without the end that its recipe added."""
        return CUT.sub("", self.name)

    def read_labels(self, index: int, size: tuple[int, ...]) -> ImageArray:
        """Labels (H, W) of one labelled frame of a size (H, W).

        Raises:
            UserError: they cannot be read, or are of another size or other classes.
        """
        try:
            (labels,) = read_arrays(self.labels, [str(index)])
        except ValueError as error:
            raise self._wrong(index, f"cannot be read ({error})") from error
        if labels.shape != size or labels.dtype != np.uint8:
            raise self._wrong(index, f"are {labels.dtype} of shape {labels.shape}, its frame is of shape {size}")
        if (above := int((labels + np.uint8(1)).max(initial=0))) > self.classes:  # `IGNORE` + 1 is 0
            raise self._wrong(index, f"hold {above - 1}, the classes are 0..{self.classes - 1}")
        return labels

    def _wrong(self, index: int, what: str) -> UserError:
        return UserError(f"'{self.labels}': the labels of frame {index} {what}; remove it, and the clip is made again")


class Clips(Sequence[Clip]):
    """The clips of a split.

    A clip is handed out only once this process has seen that its files are what was made; one that is not is made
    again. Kept as arrays, which processes can share: many small objects are copied by each one that looks at them.

    Args:
        jobs: that made the clips, to make them again.
        keys: of the clips.
        entries: of the clips.
        encoding: of all.
        cache: folder.
        classes: K.

    Attributes:
        lengths: (N,) frames.
        starts: (N,) index of the first frame in the sequence that a clip was cut from.
        owners, frames: (M,) for each labelled frame, in order, the number of its clip and its index there.
        gop: frames from keyframe to keyframe.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        keys: Sequence[str],
        entries: Sequence[Entry],
        encoding: CodecSettings,
        cache: Path,
        classes: int = IGNORE,
    ) -> None:
        self._jobs, self._encoding, self._cache, self._classes = jobs, encoding, cache, classes
        self.gop = encoding.gop
        self._keys = np.array(keys, "S")
        self._names = np.array([job.name.encode(errors="surrogateescape") for job in jobs], "S")
        self._flat = np.array([entry.flat for entry in entries], np.bool_)
        self._verified = np.zeros(len(jobs), np.bool_)
        self.lengths = np.array([entry.length for entry in entries], np.int32)
        self.starts = np.array([job.start for job in jobs], np.int32)
        counts = np.array([len(entry.labelled) for entry in entries], np.int64)
        self._ends = np.cumsum(counts)
        self.owners = np.repeat(np.arange(len(jobs), dtype=np.int32), counts)
        self.frames: NDArray[np.int32] = np.fromiter(chain.from_iterable(e.labelled for e in entries), np.int32)

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, number: int) -> Clip: ...
    @overload
    def __getitem__(self, number: slice) -> list[Clip]: ...
    def __getitem__(self, number: int | slice) -> Clip | list[Clip]:
        """The clip, verified.

        Raises:
            UserError: it is damaged and cannot be made again.
        """
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        if not self._verified[number]:
            self._verify(number)
            self._verified[number] = True
        return self._clip(number)

    def __iter__(self) -> Iterator[Clip]:
        return (self[number] for number in range(len(self)))

    def _clip(self, number: int) -> Clip:
        place, end = self._place(number), int(self._ends[number])
        first = int(self._ends[number - 1]) if number else 0
        return Clip(
            self._names[number].decode(errors="surrogateescape"),
            place.with_suffix(VIDEO),
            place.with_suffix(LABELS),
            int(self.starts[number]),
            int(self.lengths[number]),
            self.gop,
            tuple(self.frames[first:end].tolist()),
            self._classes,
        )

    def _place(self, number: int) -> Path:
        key = self._keys[number].decode()
        return flat_place_of(self._cache, key) if self._flat[number] else place_of(self._cache, key)

    def _verify(self, number: int) -> None:
        clip, place = self._clip(number), self._place(number)
        faults = self._faults(clip, place)
        if not faults:
            return
        log.warning("clip '%s' is made again, its files are not those that were made: %s", clip.name, "; ".join(faults))
        try:
            write_clip(self._jobs[number], place, self._encoding, self._cache)
        except OSError as error:
            raise UserError(
                f"clip '{clip.name}' in paths.cache '{self._cache}' is damaged ({faults[0]}) and cannot be written "
                f"again ({error.strerror}); make the folder writable, or give another one"
            ) from error
        if self._faults(clip, place):  # what was known of it came from a damaged record
            raise UserError(f"the record of clip '{clip.name}' was damaged, the clip has been made again; start again")

    def _faults(self, clip: Clip, place: Path) -> list[str]:
        record = read_record(place)
        if record is None:
            return ["its record is missing, torn or of another clip"]
        stated = record["name"], record["length"], tuple(record["labelled"])
        if stated != (clip.name, clip.length, clip.labelled):
            return ["its record is of another clip"]
        return part_faults(place, record)
