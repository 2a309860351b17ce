"""Score the agreement of a network with its own high branch, frame by frame, before and after adaptation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.adaptation.pairs import HELD_OUT, Source, is_held_out
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.metrics.confusion import DistanceConfusion, iou


@dataclass(frozen=True)
class Systems:
    """The three networks that are compared: the high branch on each frame, and the method before and after."""

    teacher: FrameRunner
    before: FrameRunner
    after: FrameRunner


class Agreement:
    """Counts labels against those of the high branch, by distance to the keyframe.

    Args:
        num_classes: K.
        gop: largest distance, plus one.
    """

    def __init__(self, num_classes: int, gop: int) -> None:
        self._counted, self.frames = DistanceConfusion(num_classes, gop), 0

    def add(self, found: NDArray[np.uint8], expected: NDArray[np.uint8], distance: int) -> None:
        """Count the labels (H, W) of one frame."""
        preds, target = (torch.from_numpy(labels).long()[None] for labels in (found, expected))
        self._counted.update(preds, target, torch.tensor([distance]))
        self.frames += 1

    def summary(self) -> dict[str, Any]:
        """Return agreement (share of equal labels) and mIoU, 0..1: over all distances seen, and by distance."""
        counts = self._counted.compute()
        equal = counts.diagonal(dim1=-2, dim2=-1).sum(-1).double() / counts.sum((-2, -1))
        by_class = iou(counts)
        by_distance = {
            str(distance): {"agreement": round(float(equal[distance]), 5), "miou": round(float(scores.nanmean()), 5)}
            for distance, scores in enumerate(by_class)
            if bool(counts[distance].any())
        }
        means = {key: _mean([row[key] for row in by_distance.values()]) for key in ("agreement", "miou")}
        return {**means, "by_distance": by_distance}


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 5)


def compare(
    sources: Sequence[Source],
    systems: Systems,
    num_classes: int,
    gop: int,
    most: int,
    progress: Callable[[], None],
) -> dict[str, Any]:
    """Score the frames between keyframes before and after adaptation against the labels of the high branch.

    Args:
        sources: as they are predicted: keyframes are where `KeyedMotion` has them.
        systems: compared.
        num_classes: K.
        gop: frames from one keyframe to the next at most.
        most: frames, in the mean; of longer videos whole groups of blocks are left out, evenly.
        progress: called for each scored frame.

    Returns:
        `all` and `held_out` (see `is_held_out`; None where the videos are too short), each with the number of
        `frames`, and `before` and `after` as of `Agreement.summary`.
    """
    counted = {part: [Agreement(num_classes, gop) for _ in range(2)] for part in ("all", "held_out")}
    stride = max(1, round(sum(source.count for source in sources) / most))
    for source in sources:
        for found, expected, distance, index in _labelled(source, systems, gop, stride):
            progress()
            for part in ("all", "held_out") if is_held_out(index, gop) else ("all",):
                for agreement, labels in zip(counted[part], found, strict=True):
                    agreement.add(labels, expected, distance)
    return {
        part: {"frames": before.frames, "before": before.summary(), "after": after.summary()} if before.frames else None
        for part, (before, after) in counted.items()
    }


def _labelled(
    source: Source, systems: Systems, gop: int, stride: int
) -> Iterator[tuple[list[NDArray[np.uint8]], NDArray[np.uint8], int, int]]:
    """Labels before and after, those of the high branch, distance and index of each scored frame."""
    keyed, state, key, distance = KeyedMotion(gop, source.all_intra), None, None, 0
    for frame in source.frames():
        motion = keyed.update(frame)
        distance += 1
        if motion is None:
            key, state, distance = frame.image, None, 0
        elif key is not None and frame.index // (gop * HELD_OUT) % stride == 0:
            if state is None:  # keyframes before frames that are left out cost nothing; all have the same high branch
                state = systems.before.advance(key, systems.before.init_state(), None)
            found = [runner.step(frame.image, state, motion)[0] for runner in (systems.before, systems.after)]
            yield found, systems.teacher.step(frame.image, None, None)[0], distance, frame.index
