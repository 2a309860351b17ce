"""Compare prepared clips with their records."""

from __future__ import annotations

import json
from pathlib import Path

from src.data.clips.cache import ClipJob, clip_key
from src.data.clips.files import MANIFEST, PARTS, RECORD, Record, describe, read_record
from src.video.types import CodecSettings


def faults(jobs: list[ClipJob], encoding: CodecSettings, cache: Path) -> list[str]:
    """List what is missing, torn or different among the clips of the jobs and in the manifest, one line each.

    A clip is missing too where its source files, the encoder or our code have changed since it was made.
    """
    listed = _listed(cache)
    found = []
    for job in jobs:
        place = cache / clip_key(job, encoding)
        found += [f"clip '{job.name}' ({place.name}): {what}" for what in _faults_of(place, listed)]
    return found


def _faults_of(place: Path, listed: dict[str, Record]) -> list[str]:
    record = read_record(place)
    if record is None:
        torn = place.with_suffix(RECORD).exists()
        return [f"torn: {place.name}{RECORD} cannot be read" if torn else "missing: it was not made, or of other files"]
    found = []
    for part, suffix in PARTS.items():
        if part not in record:
            continue
        path = place.with_suffix(suffix)
        if not path.exists():
            found.append(f"missing: {path.name}")
        elif path.stat().st_size != record[part]["bytes"]:
            found.append(f"torn: {path.name} has {path.stat().st_size} of {record[part]['bytes']} bytes")
        elif describe(path) != record[part]:
            found.append(f"different: {path.name} is not the file that was made")
    if listed.get(place.name) != record:
        found.append(f"different: {MANIFEST} " + ("says otherwise" if place.name in listed else "lacks it"))
    return found


def _listed(cache: Path) -> dict[str, Record]:
    """Records of the manifest by key; lines that cannot be read are left out."""
    listed = {}
    path = cache / MANIFEST
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
            listed[str(record["key"])] = record
        except (ValueError, KeyError, TypeError):
            continue
    return listed
