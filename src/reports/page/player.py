"""Recorded frames as data of the page's video player."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import UserError
from src.inference.player_record import (
    MOTION_STEP,
    MOTION_UNIT,
    RECORD,
    StoredFrame,
    agreement,
    label_maps,
    read_record,
)
from src.reports.collect import find_results
from src.reports.tables import TitledTable, as_percent, mean_of_known


@dataclass(frozen=True)
class PlayerSection:
    """A section with a video player.

    Attributes:
        title: of the video.
        note: below it.
        labelled: whether frames have label maps.
        compared: whether a system is the reference of the others.
        content: that the script reads.
        table: of means over the frames.
    """

    title: str
    note: str
    labelled: bool
    compared: bool
    content: dict[str, Any]
    table: TitledTable


def players(folder: Path, systems: Sequence[str]) -> list[PlayerSection]:
    """Return the players of all records below a folder.

    Args:
        folder: holds run directories at any depth.
        systems: names in the order of their colours, of those that charts show.

    Raises:
        UserError: a record that cannot be read.
    """
    found = find_results(folder, RECORD)
    sections = [_player(f.run, *_checked(f.path), several=len(found) > 1) for f in found]
    for section in sections:
        order = [*systems, *section.content["systems"]]
        section.content["colours"] = [order.index(name) for name in section.content["systems"]]
    return sections


def _checked(path: Path) -> tuple[dict[str, Any], list[StoredFrame]]:
    about, frames = read_record(path)
    if not frames:
        raise UserError(f"'{path}' holds no frames; remove it, or make it again by src.eval")
    return about, frames


def _player(run: str, about: dict[str, Any], frames: Sequence[StoredFrame], several: bool) -> PlayerSection:
    systems, reference = about["systems"], about["reference"]
    rows: list[dict[str, Any]] = []
    for frame in frames:
        maps, labelled = label_maps(about, frame), bool(frame.about["labelled"])
        label, found = (maps[0], maps[1:]) if labelled else (None, maps)
        row = {key: frame.about[key] for key in ("index", "key", "damaged", "labelled")}
        row["right"] = [None if label is None else agreement(plane, label) for plane in found]
        row["agrees"] = [None if reference is None else agreement(plane, found[reference]) for plane in found]
        rows.append(row)
    coded = [
        {**row, "image": _text(f.image), "maps": _text(f.maps), "motion": _text(f.motion) if f.motion else None}
        for row, f in zip(rows, frames, strict=True)
    ]
    labelled = any(row["labelled"] for row in rows)
    keys = ("title", "fps", "width", "height", "classes", "palette", "systems", "reference")
    content = {key: about[key] for key in keys}
    content |= {"labelled": labelled, "step": MOTION_STEP, "unit": MOTION_UNIT, "frames": coded}
    compared = reference is not None and len(systems) > 1
    shown = [("right", "right")] * labelled + [("agrees", "as reference")] * compared
    head = ["system", *(title for _, name in shown for title in (name, "on keyframes", "between"))]
    table = [
        [name, *(_mean(rows, key, number, kind) for key, _ in shown for kind in (None, True, False))]
        for number, name in enumerate(systems)
    ]
    keyframes = sum(row["key"] for row in rows)
    note = f"{len(rows)} frames, {keyframes} keyframes; all systems on the same decoded frames."
    note += f" Reference: {systems[reference]}." if reference is not None else ""
    return PlayerSection(
        f"Frame by frame: {about['title']}" + (f" ({run})" if several else ""),
        note,
        labelled,
        compared,
        content,
        TitledTable("Share of pixels (%) over these frames", head, table),
    )


def _mean(rows: Sequence[dict[str, Any]], key: str, number: int, keyframe: bool | None) -> str:
    return as_percent(
        mean_of_known(row[key][number] for row in rows if keyframe is None or bool(row["key"]) == keyframe)
    )


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
