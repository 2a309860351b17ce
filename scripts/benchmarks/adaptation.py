"""Score adaptation on the way: AR-Seg on videos, by distance to the keyframe, before and after.

    python -m scripts.benchmarks.adaptation CHECKPOINT SOURCE .. [--phases 0,6] [--every 12] [--batch 1] [--share 0.5]
        [--lr 1e-4] [--scale 1,1]

A SOURCE is a video, or the folder of CamVid, whose validation sequence is coded once for each phase (frames from there
on; H.264, CRF 23, the GOP of the training) and has labels. Each video is played once, as a stream of its own, which
starts from the checkpoint. Printed are, for the weights of the checkpoint, for those that adaptation used, and for the
high branch: agreement with the high branch and mIoU against its labels on the frames between keyframes, mIoU
against labels on all frames where there are any (each the mean over distances), frames per second without decoding and
motion, comparing and learning included, and what the runner did.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.adaptation.online import AdaptingRunner, Online
from src.adaptation.options import Learning
from src.adaptation.scores import Agreement
from src.checkpoints.load import LoadedModel, load_checkpoint
from src.data.datasets.camvid import CamVid
from src.inference.device import choose_threads
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.models.video import SingleFrame
from src.video.reading.decode import Video
from src.video.types import CodecSettings, Frame
from src.video.writing.encode import encode

CPU = torch.device("cpu")
SHOWN = (1, 2, 3, 6, 9, 11)  # distances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
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
    online = Online(given.every, 0, learning)
    loaded = load_checkpoint(given.checkpoint)
    for source in given.sources:
        scores = Scores(loaded)
        if source.is_dir():
            for phase in map(int, given.phases.split(",")):
                scores.play(camvid(source, phase, loaded), online, f"phase {phase}")
        else:
            video = Video(source, motion="auto", on_damage="continue")
            scores.play(((frame, None) for frame in video), online, source.name, video.info.all_intra)
        scores.show()


def camvid(root: Path, phase: int, loaded: LoadedModel) -> Iterator[tuple[Frame, NDArray[np.uint8] | None]]:
    """Frames of the coded validation sequence with their labels."""
    data = CamVid(str(root), False, False, 15, list(loaded.normalisation.mean), list(loaded.normalisation.std), "stop")
    images, labels = zip(*data.videos("val")[0].frames(), strict=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        encode(images[phase:], path, CodecSettings("h264", loaded.gop, 15, crf=23))
        for frame in Video(path):
            yield frame, labels[phase + frame.index]


class Scores:
    """Scores of the videos of one source."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        names, about = ("checkpoint", "adapted", "high branch"), (len(loaded.classes), loaded.gop)
        self._to_high = {name: Agreement(*about) for name in names}
        self._to_labels = {name: Agreement(*about) for name in names}
        self._seconds = dict.fromkeys(names, 0.0)
        self._frames = 0

    def play(
        self,
        frames: Iterator[tuple[Frame, NDArray[np.uint8] | None]],
        online: Online,
        name: str,
        all_intra: bool = False,
    ) -> None:
        """Label a video by all three, and print what the adapting one did."""
        loaded = self._loaded
        runners = {"checkpoint": runner_of(loaded, CPU), "adapted": AdaptingRunner(loaded, CPU, online)}
        high = SingleFrame(runners["checkpoint"].network.high)  # type: ignore[arg-type]
        runners["high branch"] = FrameRunner(high, loaded.normalisation, CPU, loaded.fit)
        states: dict[str, Any] = {name: runner.init_state() for name, runner in runners.items()}
        keyed, distance, is_cold = KeyedMotion(loaded.gop, all_intra), 0, True
        for frame, labels in frames:
            motion = keyed.update(frame)
            distance = 0 if motion is None else distance + 1
            found = {}
            for kind, runner in runners.items():
                if is_cold:
                    runner.warm_up(*frame.image.shape[:2])
                began = perf_counter()
                found[kind], states[kind] = runner.step(frame.image, states[kind], motion)
                self._seconds[kind] += perf_counter() - began
            self._frames, is_cold = self._frames + 1, False
            for kind, predicted in found.items():
                if labels is not None:
                    self._to_labels[kind].add(predicted, labels, distance)
                if motion is not None:
                    self._to_high[kind].add(predicted, found["high branch"], distance)
        print(f"{name}: {runners['adapted'].summary()}", flush=True)  # type: ignore[attr-defined]

    def show(self) -> None:
        """Print the scores in %, and agreement and mIoU against the high branch by distance."""
        for name, agreement in self._to_high.items():
            if not agreement.frames:
                print("no frame between keyframes")
                return
            against, labelled = agreement.summary(), self._to_labels[name]
            print(
                f"{name}: agreement {100 * against['agreement']:.2f} %, mIoU against the high branch "
                f"{100 * against['miou']:.2f}"
                + (f", against labels {100 * labelled.summary()['miou']:.2f}" if labelled.frames else "")
                + f", {self._frames / self._seconds[name]:.1f} frames/s"
            )
            rows = against["by_distance"]
            shown = [
                f"d = {d}: {100 * rows[str(d)]['agreement']:.2f}, {100 * rows[str(d)]['miou']:.2f}"
                for d in SHOWN
                if str(d) in rows and name != "high branch"
            ]
            if shown:
                print("  " + "; ".join(shown), flush=True)


if __name__ == "__main__":
    main()
