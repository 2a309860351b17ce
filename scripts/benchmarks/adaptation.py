"""Score adaptation on the way against labels: AR-Seg on the validation sequence of CamVid, which has them throughout.

    python -m scripts.benchmarks.adaptation CHECKPOINT CAMVID_ROOT [--phases 0,6] [--every 12] [--batch 1] [--share 0.5]
        [--lr 1e-4] [--scale 1,1]

The sequence is coded once for each phase (frames from there on; H.264, CRF 23, the GOP of the training) and played
once, as a stream of its own. Printed are, for the weights of the checkpoint, for those that adaptation used, and for
the high branch: agreement with the high branch and mIoU against its labels on the frames between keyframes, mIoU
against the labels on all frames (each the mean over distances), and what the runner did.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from src.adaptation.online import AdaptingRunner, Online
from src.adaptation.options import Learning
from src.adaptation.scores import Agreement
from src.checkpoints.load import load_checkpoint
from src.data.datasets.camvid import CamVid
from src.inference.device import choose_threads
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.models.video import SingleFrame
from src.video.reading.decode import Video
from src.video.types import CodecSettings
from src.video.writing.encode import encode

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("root")
    parser.add_argument("--phases", default="0,6")
    parser.add_argument("--every", type=int, default=12)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--scale", default="1,1")
    given = parser.parse_args()
    torch.set_num_threads(choose_threads(None))
    scale = [float(side) for side in given.scale.split(",")]
    learning = Learning(given.lr, given.batch, [384, 512], scale, 0.5, 1.0, 1.0, given.share, "auto")
    phases = [int(phase) for phase in given.phases.split(",")]
    score(given.checkpoint, given.root, phases, Online(given.every, 0, learning))


def score(checkpoint: Path, root: str, phases: list[int], online: Online) -> None:
    """Play the sequence from each phase on, and print the scores of all."""
    loaded = load_checkpoint(checkpoint)
    classes, gop = len(loaded.classes), loaded.gop
    data = CamVid(root, False, False, 15, list(loaded.normalisation.mean), list(loaded.normalisation.std), "stop")
    images, labels = zip(*data.videos("val")[0].frames(), strict=True)
    systems = ("checkpoint", "adapted", "high branch")
    to_high = {name: Agreement(classes, gop) for name in systems}
    to_labels = {name: Agreement(classes, gop) for name in systems}
    for phase in phases:
        runners = {"checkpoint": runner_of(loaded, CPU), "adapted": AdaptingRunner(loaded, CPU, online)}
        high = SingleFrame(runners["checkpoint"].network.high)  # type: ignore[arg-type]
        runners["high branch"] = FrameRunner(high, loaded.normalisation, CPU, loaded.fit)
        states: dict[str, Any] = {name: runner.init_state() for name, runner in runners.items()}
        keyed, distance = KeyedMotion(gop), 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            encode(images[phase:], path, CodecSettings("h264", gop, 15, crf=23))
            for frame in Video(path):
                motion = keyed.update(frame)
                distance = 0 if motion is None else distance + 1
                found = {}
                for name, runner in runners.items():
                    found[name], states[name] = runner.step(frame.image, states[name], motion)
                for name in systems:
                    to_labels[name].add(found[name], labels[phase + frame.index], distance)
                    if motion is not None:
                        to_high[name].add(found[name], found["high branch"], distance)
        print(f"phase {phase}: {runners['adapted'].summary()}", flush=True)  # type: ignore[attr-defined]
    for name in systems:
        against = to_high[name].summary()
        print(
            f"{name}: agreement {100 * against['agreement']:.2f} %, mIoU against the high branch "
            f"{100 * against['miou']:.2f}, against labels {100 * to_labels[name].summary()['miou']:.2f}"
        )


if __name__ == "__main__":
    main()
