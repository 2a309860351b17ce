"""Adapt on the way: a runner whose network learns from some of the frames that it labels."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.adaptation.learner import Learner, NotFinite, load
from src.adaptation.options import Learning
from src.adaptation.pairs import Cropping, batch_of, fitting
from src.checkpoints.load import LoadedModel
from src.data.batch import Sample
from src.errors import UserError, check_whole
from src.inference.engine.options import PLAIN, Engine
from src.inference.runner import FrameRunner
from src.metrics.confusion import DistanceConfusion, iou
from src.models.deploy.inference_form import inference_form
from src.models.video import SingleFrame
from src.video.types import MotionField

MEMORY = 32  # latest frames that the others of a batch are drawn from
COMPARED = 8  # latest comparisons that decide which weights label the next frames
FEWEST = 3  # of them, before the learned weights may
# Share of labels, and mIoU, by which learned weights are worse in the mean of `COMPARED` when they are given up
WORSE, MUCH_WORSE = 0.005, 0.02
NAMES = ("start", "adapted", "used")  # weights whose labels are compared

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Online:
    """The keys of `online` in conf/predict.yaml, where each is explained.

    Raises:
        UserError: a value out of its range.
    """

    every: int
    seed: int
    learning: Learning

    def __post_init__(self) -> None:
        check_whole("online.every", self.every, 1)


class Following(NamedTuple):
    """State of a method, the image (1, H, W, 3) uint8 of its keyframe, and the frames since."""

    inner: Any
    key: Tensor | None
    distance: int = 0


class AdaptingRunner(FrameRunner):
    """Runs AR-Seg and adapts it on the way, at a bounded cost; never worse than it was, as far as can be seen.

    On one of `every` frames between keyframes the high branch runs, too. First the labels of both the weights at the
    start and the learned ones are compared with its labels. The learned ones label the frames that follow where in the
    latest comparisons they agreed better with them and their mIoU against them was no lower: small classes hardly
    count among all labels. Then one step learns from this frame and others in memory.
    Labels of the frame itself are made before: nothing is compared on what it was learned from.

    Args:
        loaded: of `check_adaptable`.
        device: that it runs on.
        options: of learning.
    """

    def __init__(self, loaded: LoadedModel, device: torch.device, options: Online) -> None:
        network = inference_form(loaded.network)
        about = loaded.normalisation, device, loaded.fit
        super().__init__(network, *about)
        self._options = options
        self._adapted = FrameRunner(deepcopy(self.network), *about)
        self._teacher = FrameRunner(SingleFrame(self.network.high), *about)  # type: ignore[arg-type]
        self._learner = Learner(deepcopy(self.network), options.learning, steps=None)
        self._rng = np.random.default_rng(options.seed)
        self._cropping: Cropping | None = None  # from the first frame on, whose size it has
        self._memory: deque[Sample] = deque(maxlen=MEMORY)
        self._latest: deque[Tensor] = deque(maxlen=COMPARED)  # confusions with the high branch (2, K, K)
        gap = options.every
        while math.gcd(gap, loaded.gop - 1) > 1:  # so that the distances take turns
            gap += 1
        self._gap, self._seen = gap, 0
        self._compared: dict[int, Tensor] = {}  # confusions by distance (3, K, K), as of `NAMES`
        self._counts = {"adapted": 0, "frames": 0, "restarts": 0, "comparisons": 0}
        self._seconds = 0.0

    @property
    def uses_adapted(self) -> bool:
        """Whether the learned weights label the next frames."""
        if len(self._latest) < FEWEST:
            return False
        agreement, miou = self._gain()
        return agreement > 0 and miou >= 0

    def init_state(self) -> Following:
        """The state before the first frame."""
        return Following(super().init_state(), None)

    def step(
        self,
        image: NDArray[np.uint8],
        state: Following,
        motion: MotionField | None,
        size: tuple[int, int] | None = None,
        warp_only: bool = False,
    ) -> tuple[NDArray[np.uint8], Following]:
        """Label the next frame, and sometimes learn from it; as of `FrameRunner.step`."""
        if warp_only:  # neither weights have a part in it
            labels, inner = super().step(image, state.inner, motion, size, warp_only)
            return labels, Following(inner, state.key, state.distance + 1)
        adapted = self.uses_adapted
        run = self._adapted.step if adapted else super().step
        labels, inner = run(image, state.inner, motion, size)
        if motion is None or state.key is None:
            return labels, Following(inner, torch.from_numpy(image)[None])
        self._counts["frames"] += 1
        self._counts["adapted"] += adapted
        self._seen += 1
        if self._seen % self._gap == 0:
            began = time.perf_counter()
            other = (super().step if adapted else self._adapted.step)(image, state.inner, motion, size)[0]
            expected = self._teacher.step(image, None, None, size)[0]
            pair = (other, labels) if adapted else (labels, other)
            self._compare(state.distance + 1, [*pair, labels], expected)
            self._learn(state.key[0].numpy(), image, motion)
            self._seconds += time.perf_counter() - began
        return labels, Following(inner, state.key, state.distance + 1)

    def step_batch(
        self, images: Any, states: Any, motions: Any, warp_only: bool = False
    ) -> list[tuple[NDArray[np.uint8], Following]]:
        """Label the next frame of several streams, one after the other; all of them teach one network."""
        return [self.step(*frame, warp_only=warp_only) for frame in zip(images, states, motions, strict=True)]

    def advance(self, image: NDArray[np.uint8], state: Following, motion: MotionField | None) -> Following:
        """State after a frame whose labels are not needed."""
        inner = super().advance(image, state.inner, motion)
        return Following(inner, torch.from_numpy(image)[None]) if motion is None else state._replace(inner=inner)

    def tune(
        self, images: Any, backend: str, precision: str, threads: int, workers: int = 1, frames: float = math.inf
    ) -> Engine:
        """Stay in torch and float32, where the network can learn.

        Raises:
            UserError: another backend or precision is named.
        """
        if backend not in ("auto", PLAIN.backend) or precision not in ("auto", PLAIN.precision):
            raise UserError(
                f"adapt=true with backend={backend} precision={precision}: a network learns in torch fp32 only; "
                "leave both at auto, or give adapt=false"
            )
        return PLAIN

    def warm_up(self, height: int, width: int) -> None:
        """Compile and allocate before the first frame, outside all timing."""
        self._adapted.warm_up(height, width)

    def times(self, height: int, width: int) -> dict[str, float]:
        """Measure the milliseconds of each kind of frame, without comparing or learning."""
        return self._adapted.times(height, width)

    def summary(self) -> dict[str, Any]:
        """Return what was compared, learned and used, and the seconds that it took.

        `agreement` is the share 0..1 of labels that are the high branch's, `miou` the mIoU against its labels: those
        of the checkpoint's weights, of the learned ones, and of what was used. Both are means over distances;
        `by_distance` has the agreement at each.
        """
        counts, scores = self._counts, {d: _scores(self._compared[d]) for d in sorted(self._compared)}
        means = torch.stack([*scores.values()]).mean(0) if scores else torch.zeros(2, len(NAMES))
        return {
            "comparisons": counts["comparisons"],
            "agreement": _by_name(means[0]),
            "miou": _by_name(means[1]),
            "by_distance": {str(d): _by_name(found[0]) for d, found in scores.items()},
            "share_adapted": round(counts["adapted"] / max(1, counts["frames"]), 4),
            "restarts": counts["restarts"],
            "seconds": round(self._seconds, 3),
        }

    def _compare(self, distance: int, found: list[NDArray[np.uint8]], expected: NDArray[np.uint8]) -> None:
        """Count the labels of both weights, and of those that were used, against the high branch's."""
        counted = DistanceConfusion(self.network.num_classes, len(found))
        preds, target = (torch.from_numpy(np.stack(labels)).long() for labels in (found, [expected] * len(found)))
        counted.update(preds, target, torch.arange(len(found)))
        self._latest.append(counted.counts[:2])
        self._compared[distance] = self._compared.get(distance, 0) + counted.counts
        self._counts["comparisons"] += 1

    def _gain(self) -> tuple[float, float]:
        """Agreement and mIoU of the learned weights minus those of the checkpoint's, in the latest comparisons."""
        agreement, miou = _scores(torch.stack([*self._latest]).sum(0))
        return float(agreement[1] - agreement[0]), float(miou[1] - miou[0])

    def _learn(self, key: NDArray[np.uint8], image: NDArray[np.uint8], motion: MotionField) -> None:
        if self._cropping is None:
            learning = fitting(self._options.learning, [(image.shape[0], image.shape[1])], self._fit)
            self._cropping = Cropping(learning, self._fit, self._rng)
        self._memory.append(self._cropping.sample(key, image, motion))
        others = self._rng.integers(len(self._memory), size=self._options.learning.batch_size - 1)
        batch = batch_of([self._memory[-1], *(self._memory[int(n)] for n in others)])
        try:
            if len(self._latest) == COMPARED:
                agreement, miou = self._gain()
                if agreement < -WORSE or miou < -MUCH_WORSE:
                    raise NotFinite(f"learned weights gain {agreement:.4f} in agreement and {miou:.4f} in mIoU")
            self._learner.step(batch.to(self._device).ready(self._normalisation))
            load(self._adapted.network, self._learner.weights())
        except NotFinite as error:
            log.warning("adaptation begins again from the weights of the checkpoint: %s", error)
            self._counts["restarts"] += 1
            self._learner.restart()
            load(self._adapted.network, self._learner.start)
            self._latest.clear()


def _scores(confusions: Tensor) -> Tensor:
    """Agreement and mIoU (2, N) of confusion matrices (N, K, K)."""
    agreement = confusions.diagonal(dim1=-2, dim2=-1).sum(-1).double() / confusions.sum((-2, -1))
    return torch.stack([agreement, iou(confusions).nanmean(-1)])


def _by_name(scores: Tensor) -> dict[str, float]:
    return {name: round(float(score), 5) for name, score in zip(NAMES, scores, strict=True)}
