"""Scores methods on the same decoded frames, distance by distance to the keyframe."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics import MetricCollection

from src.checkpoints.load import LoadedModel
from src.data.clips.dataset import is_scored
from src.data.clips.table import Clip
from src.data.datasets.base import LabelledImage
from src.data.images import Normalisation
from src.data.transforms import FitSize
from src.distributed import rank_and_world_size, together
from src.errors import UserError
from src.evaluation.bootstrap import BlockCounts
from src.inference.budget import BUDGETED, BudgetedKeys, Spending
from src.inference.keyframes import KeyedMotion
from src.inference.player_record import PlayerRecord
from src.inference.runner import FrameRunner
from src.inference.segment import Segmented, probe
from src.inference.two_sided import segment_two_sided
from src.metrics.collection import Scores
from src.metrics.cost import frame_costs
from src.models.deploy.inference_form import inference_form
from src.models.video import VideoSegmenter
from src.video.motion.field import MotionChain
from src.video.reading.decode import Video
from src.video.types import Frame, MotionField

REMEDY = "remove it, and it is encoded again"  # of a damaged clip
PROGRESS_STEP = 50  # still images between two lines of the log

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class System:
    """One row of an evaluation: a method with weights, and how its input is prepared.

    Attributes:
        network: the method, in the form that is run.
        normalisation: of its input.
        fit: the size that images had in training before augmentation; None for their own.
        architecture: registered name of the checkpoint's network.
        checkpoint: that the weights are from.
        budget: 10^9 multiply-adds per frame, in which keyframes are chosen; None: they are those of the coding.
        policy: that chooses them, one of `BUDGETED`.
        two_sided: whether frames between keyframes are seen from both, the later one too.
    """

    network: VideoSegmenter
    normalisation: Normalisation
    fit: FitSize | None
    architecture: str
    checkpoint: str
    budget: float | None = None
    policy: str | None = None
    two_sided: bool = False

    @property
    def method(self) -> str:
        """Its name in tables."""
        added = [self.policy] if self.policy else ["from both sides"] if self.two_sided else []
        return " ".join([self.network.method, *added])

    def found_ahead(self, clip: Clip, runner: FrameRunner, motion: str) -> Iterator[Segmented] | None:
        """Return the labels of a clip's frames where they need later frames, else None."""
        if not self.two_sided:
            return None
        frames = Video(clip.video, motion=motion, remedy=REMEDY)  # type: ignore[arg-type]
        return segment_two_sided(frames, runner, KeyedMotion(clip.gop))

    def keys(self, clip: Clip) -> BudgetedKeys | None:
        """Return what keeps the budget on a clip; None without one.

        Raises:
            UserError: the budget is too small.
        """
        if self.budget is None or self.policy is None:
            return None
        height, width = next(iter(Video(clip.video, motion="none", remedy=REMEDY))).image.shape[:2]
        costs = frame_costs(self.network, self.fit.size(height, width) if self.fit else (height, width))
        return BUDGETED[self.policy](costs, self.budget, clip.gop, None)


def systems_of(
    checkpoints: dict[str, LoadedModel],
    budgets: Sequence[float] = (),
    scales: Sequence[float] = (),
    policies: Sequence[str] = ("adaptive",),
    two_sided: bool = False,
) -> list[System]:
    """Systems of checkpoints and their comparisons, methods without memory first.

    Args:
        checkpoints: loaded, by name.
        budgets: each gives a system more of each checkpoint whose method can keep one.
        policies: each with each budget.
        two_sided: a system more of each checkpoint whose method can leave a frame to its motion.
        scales: of methods with a low-resolution branch, each a system; none: that of the training.

    Raises:
        UserError: checkpoints of other classes than the first one's, or budgets or scales that no method
            can have.
    """
    (first_name, first), *others = checkpoints.items()
    for name, loaded in others:
        if loaded.classes != first.classes:
            raise UserError(
                f"checkpoint '{name}' was trained on other classes than '{first_name}'; compare networks of the same "
                "classes"
            )
    found: list[System] = []
    for name, loaded in checkpoints.items():
        network = inference_form(loaded.network)
        of_checkpoint = functools.partial(
            System,
            normalisation=loaded.normalisation,
            fit=loaded.fit,
            architecture=loaded.metadata["network"]["name"],
            checkpoint=name,
        )
        comparisons = network.comparisons()
        found += map(of_checkpoint, comparisons)
        if two_sided and network.can_warp:
            warping = next(method for method in (*comparisons, network) if method.can_warp and not method.scale)
            found.append(of_checkpoint(warping, two_sided=True))
        for method in [network.rescaled(s) for s in scales] if scales and network.can_rescale else [network]:
            found.append(of_checkpoint(method))
            found += [of_checkpoint(method, budget=b, policy=p) for b in budgets for p in policies if method.can_warp]
    if scales and not any(loaded.network.can_rescale for loaded in checkpoints.values()):
        first.network.rescaled(scales[0])  # says why not
    if two_sided and not any(system.two_sided for system in found):
        raise UserError(
            "references=both is for methods that can leave a frame to its motion, such as AR-Seg; leave references out"
        )
    if budgets and not any(system.budget for system in found):
        raise UserError(
            f"budget={list(budgets)} is for methods that can leave a frame to its motion, such as AR-Seg; "
            "leave budget out"
        )
    return sorted(found, key=_rank)


def _rank(system: System) -> int:
    """Single-frame networks first, then methods of several networks without memory, then the others."""
    cycle = system.network.cycle(2)
    return (0 if len(cycle.kinds) == 1 else 1) if cycle.is_constant else 2


def score_clips(
    systems: list[System],
    clips: Sequence[Clip],
    metrics: MetricCollection,
    motion: str,
    device: torch.device,
    first: int | None = None,
    tune: Callable[[FrameRunner], object] | None = None,
    blocks: BlockCounts | None = None,
    spendings: dict[int, list[Spending]] | None = None,
) -> list[Scores]:
    """Compute the metrics of each system over the frames that occur at every distance.

    Several processes divide the clips, and all of them return the scores of all.

    Args:
        systems: their networks are moved to the device.
        clips: coded with the same GOP.
        metrics: updated with `ON_VIDEOS`, one copy for each system.
        motion: "exact", "estimate" or "auto".
        device: that the networks run on.
        first: see `is_scored`.
        tune: puts each system on its engine; None leaves them in torch.
        blocks: counts each scored frame, too.
        spendings: gets those of this process's clips, by number of the systems that have a budget.

    Raises:
        UserError: a clip cannot be read, or a budget is too small.
    """
    counted = [metrics.clone() for _ in systems]
    runners = runners_of(systems, device, tune)

    def score(clip: Clip) -> None:
        states: list[Any] = [runner.init_state() for runner in runners]
        keys = [system.keys(clip) for system in systems]
        ahead = [system.found_ahead(clip, runner, motion) for system, runner in zip(systems, runners, strict=True)]
        for frame, to_key, labels, distance in clip_frames(clip, motion, first):
            predictions = []
            for k, runner in enumerate(runners):
                own, later = keys[k], ahead[k]
                if later is not None:
                    found = next(later).labels
                elif own is not None:
                    found, states[k] = _step_within(own, runner, frame, states[k], labels)
                elif labels is None:
                    states[k] = runner.advance(frame.image, states[k], to_key)
                else:
                    shown = labels.shape[0], labels.shape[1]
                    found, states[k] = runner.step(frame.image, states[k], to_key, shown)
                if labels is None:
                    continue
                _count(counted[k], found, labels, distance, video=clip.name, index=frame.index)
                predictions.append(found)
            if blocks is not None and labels is not None:
                number = clip.start + frame.index - (clip.gop - 1 if first is None else first)
                blocks.update(clip.source, number, distance, labels, predictions)
        for k, own in enumerate(keys):
            if own is not None and spendings is not None:
                spendings[k] = [*spendings.get(k, ()), own.spending]

    def score_own() -> None:
        for number in own_numbers(len(clips)):
            score(clips[number])
            log.info("scored video %d/%d (%s)", number + 1, len(clips), clips[number].name)

    together(score_own)
    return _computed(counted)


def _step_within(
    keys: BudgetedKeys, runner: FrameRunner, frame: Frame, state: Any, labels: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], Any]:
    """Label a frame as the budget allows, at the size of its labels where there are any."""
    plan = keys.plan(frame)
    size = None if labels is None else (labels.shape[0], labels.shape[1])
    found, after = runner.step(frame.image, state, plan.motion, size, plan.warp_only)
    probe(runner, keys, frame.image, state, plan, found)
    return found, after


def score_stills(
    systems: list[System],
    stills: list[LabelledImage],
    metrics: MetricCollection,
    device: torch.device,
    damaged: Callable[[UserError], None] | None = None,
    tune: Callable[[FrameRunner], object] | None = None,
    blocks: BlockCounts | None = None,
) -> list[Scores]:
    """Compute the metrics of each system over labelled images, each of which is a keyframe; arguments as above.

    The metrics are updated with `ON_IMAGES`.

    Images that cannot be read are left out where `damaged` is given, which is called for each, in one process.
    """
    counted = [metrics.clone() for _ in systems]
    runners = runners_of(systems, device, tune)

    def score_own() -> None:
        for number in own_numbers(len(stills)):
            try:
                image, labels = stills[number].read()
            except UserError as error:
                if damaged is None:
                    raise
                damaged(error)
                continue
            predictions = []
            for runner, metric in zip(runners, counted, strict=True):
                found, _ = runner.step(image, runner.init_state(), None, (labels.shape[0], labels.shape[1]))
                _count(metric, found, labels, 0, name=stills[number].name)
                predictions.append(found)
            if blocks is not None:
                blocks.update("", number, 0, labels, predictions)
            if (number + 1) % PROGRESS_STEP == 0 or number + 1 == len(stills):
                log.info("scored still image %d/%d", number + 1, len(stills))

    together(score_own)
    return _computed(counted)


def record_clip(
    systems: list[System],
    clip: Clip,
    motion: str,
    device: torch.device,
    record: PlayerRecord,
    frames: int,
    tune: Callable[[FrameRunner], object] | None = None,
) -> None:
    """Record the first frames of a clip with their labels and what each system finds; arguments as of `score_clips`."""
    runners = runners_of(systems, device, tune)
    states: list[Any] = [runner.init_state() for runner in runners]
    keys = [system.keys(clip) for system in systems]
    ahead = [system.found_ahead(clip, runner, motion) for system, runner in zip(systems, runners, strict=True)]
    for frame, to_key, labels, distance in islice(clip_frames(clip, motion, 0), frames):
        predictions = []
        for k, runner in enumerate(runners):
            own, later = keys[k], ahead[k]
            if later is not None:
                found = next(later).labels
            elif own is not None:
                found, states[k] = _step_within(own, runner, frame, states[k], None)
            else:
                found, states[k] = runner.step(frame.image, states[k], to_key)
            predictions.append(found)
        record.put(frame, distance == 0, predictions, labels)


def runners_of(
    systems: list[System], device: torch.device, tune: Callable[[FrameRunner], object] | None
) -> list[FrameRunner]:
    """Runners of systems on a device, each on its engine where there is one to `tune` it to."""
    runners = together(lambda: [FrameRunner(s.network, s.normalisation, device, s.fit) for s in systems])
    for runner in runners if tune is not None else []:
        tune(runner)  # type: ignore[misc]
    return runners


def own_numbers(items: int) -> range:
    """Numbers of the items that this process scores."""
    rank, world_size = rank_and_world_size()
    return range(rank, items, world_size)


def _computed(counted: list[MetricCollection]) -> list[Scores]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*before the ``update`` method.*")  # by a process that had no item
        return [metrics.compute() for metrics in counted]


def clip_frames(
    clip: Clip, motion: str, first: int | None
) -> Iterator[tuple[Frame, MotionField | None, NDArray[np.uint8] | None, int]]:
    """Frames of a clip with their motion to the keyframe (None: they are one), the labels of those that are scored,
    and their distance."""
    chain, labelled = MotionChain(), set(clip.labelled)
    for frame in Video(clip.video, motion=motion, remedy=REMEDY):  # type: ignore[arg-type]
        distance = frame.index % clip.gop
        if distance == 0:
            chain.reset()
        to_key = chain.update(frame)
        scored = frame.index in labelled and is_scored(clip, frame.index, first)
        labels = clip.read_labels(frame.index, frame.image.shape[:2]) if scored else None
        yield frame, None if distance == 0 else to_key, labels, distance


def _count(
    metrics: MetricCollection, found: NDArray[np.uint8], labels: NDArray[np.uint8], distance: int, **place: Any
) -> None:
    preds, target = (torch.from_numpy(x).long()[None] for x in (found, labels))
    metrics.update(preds=preds, target=target, distance=torch.tensor([distance]), **place)
