"""Scores methods on the same decoded frames, distance by distance to the keyframe."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics import MetricCollection

from src.data.clips.dataset import is_scored
from src.data.clips.table import Clip
from src.data.datasets.base import LabelledImage
from src.distributed import rank_and_world_size, together
from src.errors import UserError
from src.evaluation.bootstrap import BlockCounts
from src.evaluation.systems import REMEDY, System, runners_of
from src.inference.player_record import PlayerRecord
from src.inference.runner import FrameRunner
from src.inference.spending import Spending
from src.metrics.collection import Scores
from src.video.motion.field import MotionChain
from src.video.reading.decode import Video
from src.video.types import Frame, MotionField

PROGRESS_STEP = 50  # still images between two lines of the log

log = logging.getLogger(__name__)


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
        runs = [system.on(clip, runner, motion) for system, runner in zip(systems, runners, strict=True)]
        for frame, to_key, labels, distance in clip_frames(clip, motion, first):
            if labels is None:
                for run in runs:
                    run.advance(frame, to_key)
                continue
            predictions = [run.label(frame, to_key) for run in runs]
            for metric, found in zip(counted, predictions, strict=True):
                _count(metric, found, labels, distance, video=clip.name, index=frame.index)
            if blocks is not None:
                number = clip.start + frame.index - (clip.gop - 1 if first is None else first)
                blocks.update(clip.source, number, distance, labels, predictions)
        for k, run in enumerate(runs):
            if run.spending is not None and spendings is not None:
                spendings[k] = [*spendings.get(k, ()), run.spending]

    def score_own() -> None:
        for number in own_numbers(len(clips)):
            score(clips[number])
            log.info("scored video %d/%d (%s)", number + 1, len(clips), clips[number].name)

    together(score_own)
    return _computed(counted)


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
    runs = [system.on(clip, runner, motion) for system, runner in zip(systems, runners, strict=True)]
    for frame, to_key, labels, distance in islice(clip_frames(clip, motion, 0), frames):
        record.put(frame, distance == 0, [run.label(frame, to_key) for run in runs], labels)


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
