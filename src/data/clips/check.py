"""Compare prepared clips with their records."""

from __future__ import annotations

from pathlib import Path

from src.data.clips.cache import ClipJob, clip_key
from src.data.clips.files import RECORD, Record, part_faults, read_damage, read_record
from src.data.clips.index import MANIFEST, locate, manifest_records
from src.video.types import CodecSettings


def faults(jobs: list[ClipJob], encoding: CodecSettings, cache: Path) -> list[str]:
    """List what is missing, torn or different among the clips of the jobs and in the manifest, one line each.

    A clip is missing too where its source files, the encoder or our code have changed since it was made.
    """
    listed = {record["key"]: record for record in manifest_records(cache)}
    found = []
    for job in jobs:
        place = locate(cache, clip_key(job, encoding))
        found += [f"clip '{job.name}' ({place.name}): {what}" for what in _faults_of(place, listed)]
    return found


def _faults_of(place: Path, listed: dict[str, Record]) -> list[str]:
    record = read_record(place)
    if record is None:
        if (message := read_damage(place)) is not None:
            return [f"missing: it was left out as damaged: {message}"]
        torn = place.with_suffix(RECORD).exists()
        return [f"torn: {place.name}{RECORD} cannot be read" if torn else "missing: it was not made, or of other files"]
    found = part_faults(place, record)
    if listed.get(place.name) != record:
        found.append(f"different: {MANIFEST} " + ("says otherwise" if place.name in listed else "lacks it"))
    return found
