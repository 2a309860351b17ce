"""Time per step and kind of frame, written to `timing.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from src.files import as_json
from src.inference.segment import Milliseconds, Segmented

TIMING = "timing.json"
STEPS = (*(step.name for step in fields(Milliseconds)), "output")


@dataclass
class Sums:
    """Number of frames of one kind and the sums of their milliseconds."""

    frames: int = 0
    milliseconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))

    def add(self, spent: Mapping[str, float]) -> None:
        """Count one frame."""
        self.frames += 1
        for step, value in spent.items():
            self.milliseconds[step] += value

    def mean(self) -> dict[str, float]:
        """Return milliseconds per frame of each step, and `total`; empty without frames."""
        if not self.frames:
            return {}
        means = {step: round(value / self.frames, 3) for step, value in self.milliseconds.items()}
        return means | {"total": round(sum(self.milliseconds.values()) / self.frames, 3)}


class TimingFile:
    """Writes `{"frames": [...], "summary": {...}}` row by row, in constant memory.

    Args:
        path: of the JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._key, self._other = Sums(), Sums()
        self._damaged = self._next_index = self._lost = 0

    def write(self, result: Segmented, output: float) -> dict[str, Any]:
        """Add a frame, whose results took `output` milliseconds to draw, encode and write; return its row."""
        frame, spent = result.frame, asdict(result.milliseconds) | {"output": output}
        first = self._key.frames + self._other.frames == 0
        row = {
            "index": frame.index,
            "seconds": float(frame.pts),
            "picture_type": frame.frame_type,
            "keyframe": result.is_key,
            "warp_only": result.warp_only,
            "damaged": frame.damaged,
            "milliseconds": {step: round(value, 3) for step, value in spent.items()},
        }
        self._file.write(('{"frames": [\n' if first else ",\n") + as_json(row))
        (self._key if result.is_key else self._other).add(spent)
        self._damaged += frame.damaged
        self._lost += frame.index - self._next_index
        self._next_index = frame.index + 1
        return row

    def finish(self, about: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Close the list with the summary, and return it.

        `about` goes in front; `seconds` is the whole time of the loop, writing included. As steps of different frames
        overlap, it may be less than the milliseconds of all frames together.
        """
        frames = self._key.frames + self._other.frames
        summary = {
            **about,
            "frames": frames,
            "keyframes": self._key.frames,
            "damaged_frames": self._damaged,
            "lost_frames": self._lost,
            "frames_per_second": round(frames / seconds, 3),
            "mean_milliseconds": {"key": self._key.mean(), "nonkey": self._other.mean()},
        }
        if not frames:
            self._file.write('{"frames": [')
        self._file.write('\n],\n"summary": ' + as_json(summary, indent=2) + "}\n")
        return summary

    def __enter__(self) -> TimingFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
