"""Times of methods on a video, decoding and motion included."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from src.benchmarking.latency import Round
from src.data.images import Normalisation
from src.errors import UserError
from src.inference.budget import Budget, BudgetedKeys, Spending, keys_of
from src.inference.runner import FrameRunner
from src.inference.segment import AHEAD, Segmented, segment
from src.models.video import FrameCycle, VideoSegmenter
from src.video.reading.decode import MotionSource, Video

log = logging.getLogger(__name__)

ROUNDS = 3  # of the pipelined measurement
STEPS = ("decode", "motion", "network", "total")
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))  # any will do: the labels are not used
BUDGETED_CYCLE = FrameCycle(("key", "warp", "nonkey"), ("key", "warp", "nonkey"))  # each frame counts


@dataclass(frozen=True)
class TimedVideo:
    """A video, and what chooses its keyframes.

    Attributes:
        path: of the video.
        gop: frames from keyframe to keyframe; window of the budget.
        policy, budget: of the first network, as of `keys_of`; others have fixed keyframes.
    """

    path: Path
    gop: int
    policy: str = "fixed"
    budget: Budget | None = None

    def cycles(self, networks: list[VideoSegmenter]) -> list[FrameCycle]:
        """The kinds of frames of each network, as far as times go."""
        found = [net.cycle(self.gop) for net in networks]
        return found if self.budget is None else [BUDGETED_CYCLE, *found[1:]]


class VideoTimes(NamedTuple):
    """Times of networks over one video, in the form of `latency.measure`.

    Attributes:
        rounds: one for each network and step.
        spending: of the first network, where it has a budget.
    """

    rounds: list[dict[str, list[Round]]]
    spending: Spending | None


def measure_video(
    networks: list[VideoSegmenter], plain: VideoSegmenter, video: TimedVideo, device: torch.device, threads: int
) -> VideoTimes:
    """One round over the whole video for each network and step.

    All networks advance frame by frame side by side, each decoding the video for itself. "network" is from RGB
    in main memory to labels there.

    Args:
        networks: on their engines; the first one is the method.
        plain: the method before it was put on an engine.
        video: to run over.
        device: of the networks.
        threads: of the decoder.

    Raises:
        UserError: a video that cannot be read or is too short for a frame of the kinds that long ones repeat, or a
            budget that is too small for it.
    """
    runs = _runs(networks, plain, video, device, threads)
    cycles = video.cycles(networks)
    found: list[dict[str, Round]] = [{step: [] for step in STEPS} for _ in networks]
    for results in zip(*(run.frames() for run in runs), strict=True):
        for net, cycle, times, result in zip(networks, cycles, found, results, strict=True):
            _add(times, _kind(net, cycle, len(times["total"]), result), result)
        if len(found[0]["total"]) % 100 == 0:
            log.info("%d frames", len(found[0]["total"]))
    for net, (kinds, repeated), times in zip(networks, cycles, found, strict=True):
        if not {kind for kind, _ in times["total"]} & set(repeated):
            raise UserError(f"video '{video.path}' is too short for {net.method}; give one of {len(kinds)} frames")
    return VideoTimes([{step: [times] for step, times in steps.items()} for steps in found], runs[0].spending)


def measure_pipelined(
    networks: list[VideoSegmenter], plain: VideoSegmenter, video: TimedVideo, device: torch.device, threads: int
) -> list[list[float]]:
    """Milliseconds per frame of each network in rounds over the whole video, from file to labels.

    Frames are decoded, and their motion searched, while the network runs, as in `src.predict`. Networks take turns.
    Arguments as of `measure_video`.
    """
    found: list[list[float]] = [[] for _ in networks]
    for number in range(ROUNDS):
        order = list(enumerate(_runs(networks, plain, video, device, threads)))
        for n, run in order if number % 2 else reversed(order):
            results = run.frames(AHEAD)
            started = time.perf_counter()
            frames = sum(1 for _ in results)
            found[n].append(1000 * (time.perf_counter() - started) / frames)
    return found


def _runs(
    networks: list[VideoSegmenter], plain: VideoSegmenter, video: TimedVideo, device: torch.device, threads: int
) -> list[_Run]:
    """A run of each network; the policy is that of the first."""
    fixed = replace(video, policy="fixed", budget=None)
    others = [_Run(net, None, fixed, device, threads) for net in networks[1:]]
    return [_Run(networks[0], plain, video, device, threads), *others]


class _Run:
    """A network on a video from its first frame on, warm."""

    def __init__(
        self,
        net: VideoSegmenter,
        plain: VideoSegmenter | None,
        video: TimedVideo,
        device: torch.device,
        threads: int,
    ) -> None:
        self._runner = FrameRunner(net, NORMALISATION, device, plain=plain)
        motion: MotionSource = "auto" if self._runner.uses_motion else "none"
        self._video = Video(video.path, motion, "stop", threads, remedy="copy it again, or give another")
        info = self._video.info
        size = info.height, info.width
        self._runner.warm_up(*size)
        self._keyed = keys_of(video.policy, video.budget, self._runner, size, video.gop, all_intra=info.all_intra)

    def frames(self, ahead: int = 0) -> Iterator[Segmented]:
        return segment(self._video, self._runner, self._keyed, ahead)

    @property
    def spending(self) -> Spending | None:
        return self._keyed.spending if isinstance(self._keyed, BudgetedKeys) else None


def _kind(net: VideoSegmenter, cycle: FrameCycle, index: int, result: Segmented) -> str:
    if net.uses_motion:
        return "key" if result.is_key else "warp" if result.warp_only else "nonkey"
    return cycle.kinds[min(index, len(cycle.kinds) - 1)]


def _add(times: dict[str, Round], kind: str, result: Segmented) -> None:
    spent = vars(result.milliseconds)
    for step in STEPS:
        times[step].append((kind, sum(spent.values()) if step == "total" else spent[step]))
