"""Find the clips of a cache, from its manifest and its folders instead of one record after the other."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from src.data.clips.files import (
    LABELS,
    RECORD,
    VIDEO,
    Record,
    describe,
    flat_place_of,
    part_faults,
    place_of,
    read_record,
    remove_leftovers,
    unfinished_folder,
)

MANIFEST = "manifest.jsonl"
DIGEST = f"{MANIFEST}.sha256"  # as of sha256sum; a manifest of another digest is damaged or half written

SUFFIXES = (VIDEO, LABELS, RECORD)  # of every clip
Labelled = tuple[int, ...]


class Entry(NamedTuple):
    """Facts of a clip that is in the cache.

    Attributes:
        length: frames.
        labelled: indices of labelled frames, ascending.
        flat: whether it lies where earlier versions put clips.
    """

    length: int
    labelled: Labelled
    flat: bool = False

    @classmethod
    def of(cls, record: Record, flat: bool = False) -> Entry:
        """The entry of a record."""
        return cls(record["length"], tuple(sorted(record["labelled"])), flat)


def find(cache: Path, keys: Collection[str], check_sizes: bool) -> dict[str, Entry]:
    """Entries of those of the keys that are in the cache, by key.

    Each folder is listed once, and records that the manifest has are not opened. With `check_sizes` all records and
    the sizes of all files are read.
    """
    wanted = frozenset(keys)
    known = {} if check_sizes else _known(cache, wanted)
    entries = {}
    for key, flat in _listed(cache, wanted).items():
        if key in known:
            entries[key] = Entry(*known[key], flat)
            continue
        place = flat_place_of(cache, key) if flat else place_of(cache, key)
        record = read_record(place)
        if record is not None and not (check_sizes and part_faults(place, record, contents=False)):
            entries[key] = Entry.of(record, flat)
    return entries


def locate(cache: Path, key: str) -> Path:
    """Path of a clip's files without their suffixes, whether or not it is there."""
    places = place_of(cache, key), flat_place_of(cache, key)
    for suffixes in (SUFFIXES, (RECORD,)):
        for place in places:
            if all(place.with_suffix(suffix).exists() for suffix in suffixes):
                return place
    return places[0]


def _known(cache: Path, wanted: Collection[str]) -> dict[str, tuple[int, Labelled]]:
    """Lengths and labelled frames from the manifest, by key; equal tuples are shared."""
    shared: dict[Labelled, Labelled] = {}
    found = {}
    for record in manifest_records(cache):
        if record["key"] in wanted:
            labelled = tuple(record["labelled"])
            found[record["key"]] = record["length"], shared.setdefault(labelled, labelled)
    return found


def _listed(cache: Path, wanted: Collection[str]) -> dict[str, bool]:
    """Whether a clip lies flat in the cache, by key, for clips of which all files are there."""
    found = dict.fromkeys(_complete(cache, wanted), True)
    for folder in sorted({key[:2] for key in wanted}):
        found |= dict.fromkeys(_complete(cache / folder, wanted), False)
    return found


def _complete(folder: Path, wanted: Collection[str]) -> list[str]:
    missing: dict[str, int] = {}
    for key, _ in _files(folder):
        if key in wanted:
            missing[key] = missing.get(key, len(SUFFIXES)) - 1
    return [key for key, number in missing.items() if number == 0]


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Keys and suffixes of the files that a clip consists of."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            key, dot, suffix = entry.name.rpartition(".")
            if dot + suffix in SUFFIXES:
                yield key, dot + suffix


def manifest_records(cache: Path) -> Iterator[Record]:
    """Records of the manifest, sorted by name and key; none where it is not as it was written."""
    if _is_intact(cache):
        with (cache / MANIFEST).open() as lines:
            yield from map(json.loads, lines)


def _is_intact(cache: Path) -> bool:
    try:
        stated = (cache / DIGEST).read_text().split()
        return stated[:1] == [describe(cache / MANIFEST)["sha256"]]
    except (OSError, UnicodeDecodeError):
        return False


def write_manifest(cache: Path, made: Collection[str] = ()) -> Path:
    """Write the records of all clips of a cache, one a line, sorted by name and key; return the path.

    What killed processes have left unfinished is removed.
    Lines of the manifest that is there are kept, and records are read of the clips that are not in it. Several machines
    may do so at the same time: each looks again after writing, so whoever finishes last has seen the clips of all.

    Args:
        cache: the folder.
        made: keys of clips whose records are read in any case.
    """
    again = set(made)
    remove_leftovers(cache)  # where no clip is missing, nothing else does
    while True:
        places = _places(cache)
        known = [record["key"] for record in manifest_records(cache)]
        kept = {key for key in known if key in places and key not in again}
        new = [record for key in places.keys() - kept if (record := read_record(places[key])) is not None]
        if not new and len(kept) == len(known) and _is_intact(cache):
            return cache / MANIFEST
        _merge(cache, kept, new)
        again.clear()


def _places(cache: Path) -> dict[str, Path]:
    """Places of all clips that have a record, by key."""
    places = {key: flat_place_of(cache, key) for key, suffix in _files(cache) if suffix == RECORD}
    for folder in cache.glob("[0-9a-f][0-9a-f]"):
        found = (key for key, suffix in _files(folder) if suffix == RECORD)
        places |= {key: locate(cache, key) if key in places else place_of(cache, key) for key in found}
    return places


def _merge(cache: Path, kept: set[str], new: list[Record]) -> None:
    old = (record for record in manifest_records(cache) if record["key"] in kept)
    with unfinished_folder(cache) as folder:
        with (folder / MANIFEST).open("w") as file:
            for record in heapq.merge(old, sorted(new, key=_rank), key=_rank):
                file.write(json.dumps(record, sort_keys=True) + "\n")
        (folder / DIGEST).write_text(f"{describe(folder / MANIFEST)['sha256']}  {MANIFEST}\n")
        for name in (DIGEST, MANIFEST):
            os.replace(folder / name, cache / name)


def _rank(record: Record) -> tuple[str, str]:
    return record["name"], record["key"]
