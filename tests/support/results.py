"""Run directories as commands leave them, for tests of reports."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from src.inference.player_record import RECORD, PlayerRecord
from src.video.types import Frame
from tests.support.tiny_runner import CLASSES

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>|&$"
SIZE = 48, 64


def row(method: str, scale: float, miou: float, gmacs: float, *, distances: int = 3, **more: Any) -> dict[str, Any]:
    """One row of metrics.json, as src.eval writes it."""
    size = len(CLASSES)
    counts = (np.full((distances, size, size), 3) + 90 * np.eye(size, dtype=int)).tolist()
    by_distance = [miou - 0.01 * d for d in range(distances)]
    return {
        "method": method, "scale": scale, "network": "timm", "checkpoint": "a.ckpt", "miou": miou,
        "miou_worst": by_distance[-1], "miou_by_distance": by_distance,
        "iou": dict.fromkeys(CLASSES.names[:-1], miou) | {CLASSES.names[-1]: None},
        "pixel_accuracy": 0.9, "metrics": {"boundary_f": 0.5, "boundary_f_by_distance": [0.5]},
        "confusion": counts, "gmacs": {"key": 4.0, "nonkey": gmacs, "amortised": gmacs},
        "height": 48, "width": 64, "gop": distances, "split": "val", "seed": 0, "codec": "h264", "frames": 30, **more,
    }  # fmt: skip


def leave(run: Path, file: str, content: Any, overrides: tuple[str, ...] = ()) -> None:
    """Write a result into a run directory."""
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    (run / file).parent.mkdir(parents=True, exist_ok=True)
    (run / file).write_text(content if isinstance(content, str) else json.dumps(content))


def record(
    path: Path, frames: int, *, labelled: bool = True, title: str = "street", size: tuple[int, int] = SIZE
) -> None:
    """Write a player.zip: keyframes at each third frame; the second system is wrong in the left half."""
    height, width = size
    labels = np.zeros(size, np.uint8)
    labels[: height // 2] = 1
    labels[:2] = 255
    wrong = labels.copy()
    wrong[:, : width // 2] = 2
    right = np.where(labels == 255, 1, labels).astype(np.uint8)
    wrong[:2] = right[:2]
    vectors = np.array([[0, 0, width, height // 2, 4, 0]], np.float32)
    with PlayerRecord(path, title, CLASSES, ["constant 1x", "AR 0.5x"], 0, 10) as kept:
        for n in range(frames):
            image = np.full((*size, 3), 10 * n % 255, np.uint8)
            frame = Frame(image, "P", vectors if n % 3 else None, Fraction(n, 10), n)
            kept.put(frame, n % 3 == 0, [right, wrong], labels if labelled else None)


def results(folder: Path, frames: int = 7) -> Path:
    """Leave an evaluation of three seeds, a timing, a training, a failure and a recorded video in a folder."""
    for seed in range(3):
        training = {"seed": seed, "recipe": "abc"}
        drawn = {"resamples": 9, "block": 3, "blocks": 8, "seed": 0, "interval": [0.6, 0.7]}
        first = row("constant", 1.0, 0.68 + 0.01 * seed, 4.0, training=training)
        second = row("AR", 0.5, 0.66 + 0.01 * seed, 1.5, training=training)
        first["bootstrap"] = {**drawn, "differences": []}
        second["bootstrap"] = {**drawn, "differences": [{"miou": -0.02, "interval": [-0.031, -0.01]}]}
        leave(folder / "eval" / str(seed), "metrics.json", [first, second])
    third = row(HOSTILE, 0.25, 0.5, 0.4, network=HOSTILE, checkpoint=HOSTILE)
    leave(folder / "eval" / "other", "metrics.json", [third], (f"checkpoint={HOSTILE}",))
    times = {"milliseconds": {"network": {"amortised": {"median": 20.0}}}, "hardware": HOSTILE, "threads": 2}
    times |= {"constant_milliseconds": {"network": {"amortised": {"median": 50.0}}}, "backend": "torch"}
    bench = {"model": "x", "gmacs_key": 4.0, "gmacs_nonkey": 1.0, "gmacs_amortised": 1.5, "height": 48, "width": 64}
    leave(folder / "bench", "metrics/benchmark.json", {"result": {**bench, "latency": times}})
    leave(folder / "train", "low/done.json", {"epochs": 2, "val/miou": 0.5})
    leave(
        folder / "train", "low/metrics.csv", "epoch,step,train/loss,val/miou\n0,1,2.0,\n0,2,,0.4\n1,3,1.5,\n1,4,,0.5\n"
    )
    leave(folder / "failed", "failed.json", {"overrides": ["seed=7"], "error": HOSTILE})
    leave(
        folder / "train", "provenance.json", {"git": {"revision": "abcdef0123456"}, "command": ["/x/train.py", HOSTILE]}
    )
    record(folder / "eval" / "0" / RECORD, frames, title=HOSTILE)
    return folder
