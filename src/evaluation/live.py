"""Scores methods in real time: a label counts against the image that is on screen when it is ready."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from src.data.clips.table import Clip
from src.distributed import gather, together
from src.evaluation.scoring import clip_frames, own_numbers
from src.evaluation.systems import System, runners_of
from src.inference.runner import FrameRunner
from src.inference.segment import VideoRun
from src.metrics.confusion import DistanceConfusion, iou
from src.video.types import Frame

log = logging.getLogger(__name__)


@dataclass
class LiveScore:
    """Score of a method on a source that does not wait.

    Attributes:
        confusion: of the labels on screen, by distance to the keyframe of the coding.
        seconds: from the arrival of each frame that was not skipped to its labels.
        frames: that arrived.
        late: whose own labels were not ready before the next frame came, skipped ones among them.
    """

    confusion: DistanceConfusion
    seconds: list[float] = field(default_factory=list)
    frames: int = 0
    late: int = 0

    def join(self, other: LiveScore) -> None:
        """Add what another process counted."""
        self.confusion.counts += other.confusion.counts
        self.seconds += other.seconds
        self.frames, self.late = self.frames + other.frames, self.late + other.late

    def as_dict(self, fps: float, latency: float | None = None) -> dict[str, Any]:
        """Plain Python form: mIoU in 0..1, milliseconds, and shares of the frames, 0..1.

        `missed` are those without labels within the latency (milliseconds), skipped ones among them; None: no such key.
        """
        p50, p99 = np.percentile(self.seconds, (50, 99)) * 1000
        in_time = sum(1000 * one <= latency for one in self.seconds) if latency is not None else 0
        return {
            "fps": fps,
            "miou": float(iou(self.confusion.counts).nanmean(1).nanmean()),
            "ms_p50": round(float(p50), 2),
            "ms_p99": round(float(p99), 2),
            "late": round(self.late / self.frames, 4),
            "skipped": round(1 - len(self.seconds) / self.frames, 4),
            **({} if latency is None else {"missed": round(1 - in_time / self.frames, 4)}),
        }


class _Screen:
    """The labels that are shown while the frames of one video arrive.

    The method works on one frame at a time; when it is free it takes the newest, and frames that a newer one has
    overtaken are skipped.
    """

    def __init__(self, run: VideoRun, fps: float, clock: Callable[[], float]) -> None:
        self._run, self._fps, self._clock = run, fps, clock
        self._free = 0.0
        self._shown: NDArray[np.uint8] | None = None
        self._coming: tuple[float, NDArray[np.uint8]] | None = None  # seconds when it is ready

    def show(self, frame: Frame, score: LiveScore) -> NDArray[np.uint8] | None:
        """Return the labels that are on screen when the next frame comes; None before the first."""
        arrives, leaves = frame.index / self._fps, (frame.index + 1) / self._fps
        score.frames += 1
        started = self._clock()
        skipped = self._free >= leaves
        plan = self._run.plan(frame, skipped)
        starts = max(self._free, arrives)
        if skipped:
            score.late += 1
            self._free += self._clock() - started
        else:
            began = perf_counter()
            labels, after = self._run.step(frame.image, plan)
            step = perf_counter() - began
            spent = self._clock() - started
            self._take(starts)
            self._coming = starts + spent, labels
            score.seconds.append(starts + spent - arrives)
            score.late += starts + spent >= leaves
            self._run.settle(frame.image, plan, labels, after, step)
            self._free = starts + self._clock() - started
        self._take(leaves)
        return self._shown

    def _take(self, now: float) -> None:
        if self._coming is not None and self._coming[0] <= now:
            self._shown, self._coming = self._coming[1], None


def score_live(
    systems: list[System],
    clips: Sequence[Clip],
    num_classes: int,
    motion: str,
    device: torch.device,
    fps: float,
    first: int | None = None,
    tune: Callable[[FrameRunner], object] | None = None,
    clock: Callable[[], float] = perf_counter,
) -> list[dict[str, Any] | None]:
    """Play clips at a rate and score what each system would have on screen, by the time that it takes here.

    A frame is on screen until the next one arrives; it is scored by the labels that are ready by then, those of an
    earlier frame where its own are not (streaming perception, Li et al., ECCV 2020, whose instant of scoring is the
    arrival). Decoding takes no time. Systems run one after another, and their first frame is computed before.

    Args:
        systems, motion, device, first, tune: as of `src.evaluation.scoring.score_clips`.
        clips: coded with the same GOP.
        num_classes: K.
        fps: frames that arrive in a second.
        clock: seconds.

    Returns:
        `LiveScore.as_dict` of each system, over the clips of all processes; None for those that need later frames.
    """
    gop = max(clip.gop for clip in clips)
    played = [system for system in systems if not system.two_sided]  # which wait for later frames
    scores = [LiveScore(DistanceConfusion(num_classes, gop)) for _ in played]
    runners = runners_of(played, device, tune)

    def score_own() -> None:
        for number in own_numbers(len(clips)):
            clip = clips[number]
            for system, runner, score in zip(played, runners, scores, strict=True):
                screen: _Screen | None = None
                for frame, _, labels, distance in clip_frames(clip, motion, first):
                    if screen is None:
                        size = frame.image.shape[0], frame.image.shape[1]
                        runner.warm_up(*size)
                        screen = _Screen(VideoRun(runner, system.keys(clip, runner, size)), fps, clock)
                    shown = screen.show(frame, score)
                    if labels is not None and shown is not None:
                        found = cv2.resize(shown, labels.shape[::-1], interpolation=cv2.INTER_NEAREST)
                        preds, target = (torch.from_numpy(x).long()[None] for x in (found, labels))
                        score.confusion.update(preds, target, torch.tensor([distance]))
            log.info("played video %d/%d (%s)", number + 1, len(clips), clip.name)

    together(score_own)
    for n, others in enumerate(zip(*gather(scores), strict=True)):
        joined = LiveScore(DistanceConfusion(num_classes, gop))
        for other in others:
            joined.join(other)
        scores[n] = joined
    found = iter(scores)
    return [None if system.two_sided else next(found).as_dict(fps, _latency(system)) for system in systems]


def _latency(system: System) -> float | None:
    """Milliseconds that the labels of a frame may take by the system's budget."""
    return None if system.budget is None or system.budget.fps is None else system.budget.amount
