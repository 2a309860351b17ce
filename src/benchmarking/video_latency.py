"""Times of methods on a video, decoding and motion included."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from src.benchmarking.latency import Round
from src.data.images import Normalisation
from src.errors import UserError
from src.inference.budget import BudgetedKeys, keys_of
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.segment import AHEAD, Segmented, segment
from src.inference.spending import Budget, Spending
from src.models.video import FrameCycle, VideoSegmenter
from src.video.reading.decode import MotionSource, Video

log = logging.getLogger(__name__)

ROUNDS = 3  # of the pipelined measurement
STEPS = ("decode", "motion", "network", "total")
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))  # any will do: the labels are not used
KINDS = ("key", "nonkey", "warp")


@dataclass(frozen=True)
class TimedVideo:
    """A video, and what chooses its keyframes.

    Attributes:
        path: of the video.
        gop: frames from keyframe to keyframe; window of the budget.
        policy, budget: of the method, as of `keys_of`; what it is compared with has fixed keyframes.
    """

    path: Path
    gop: int
    policy: str = "fixed"
    budget: Budget | None = None


class VideoTimes(NamedTuple):
    """Times of networks over one video, in the form of `latency.measure`.

    Attributes:
        rounds: one for each network and step.
        spending: of the method, where it has a budget.
        gmacs: that it spent on a frame in the mean.
    """

    rounds: list[dict[str, list[Round]]]
    spending: Spending | None
    gmacs: float | None


class VideoTimer:
    """Times a method on a video, and what it is compared with beside it.

    Args:
        networks: on their engines, the method first.
        untuned: the method before it was put on an engine, whose multiply-adds are counted.
        video: to run over.
        device: of the networks.
        threads: of the decoder.

    Attributes:
        repeated: for each network the kinds of frames that count for its mean.

    Raises:
        UserError: a video that cannot be read.
    """

    def __init__(
        self,
        networks: list[VideoSegmenter],
        untuned: VideoSegmenter,
        video: TimedVideo,
        device: torch.device,
        threads: int,
    ) -> None:
        self._networks, self._video, self._threads = networks, video, threads
        counted = [untuned, *networks[1:]]
        self._runners = [
            FrameRunner(net, NORMALISATION, device, untuned=own) for net, own in zip(networks, counted, strict=True)
        ]
        self._cycles = [net.cycle(video.gop) for net in networks]
        if video.budget is not None:
            self._cycles[0] = FrameCycle(KINDS, KINDS)  # each frame counts
        self.repeated = [cycle.repeated for cycle in self._cycles]
        info = self._open(self._runners[0]).info
        for runner in self._runners:
            runner.warm_up(info.height, info.width)

    def measure(self) -> VideoTimes:
        """Run all networks once over the whole video.

        They advance frame by frame side by side, each decoding the video for itself. "network" is from RGB in main
        memory to labels there.

        Raises:
            UserError: the video is too short for a frame of the kinds that long ones repeat, or the budget too small.
        """
        videos, keys = zip(*(self._start(n) for n in range(len(self._runners))), strict=True)
        runs = [segment(*run) for run in zip(videos, self._runners, keys, strict=True)]
        found: list[dict[str, Round]] = [{step: [] for step in STEPS} for _ in runs]
        for results in zip(*runs, strict=True):
            for net, cycle, times, result in zip(self._networks, self._cycles, found, results, strict=True):
                _add(times, _kind(net, cycle, len(times["total"]), result), result)
            if len(found[0]["total"]) % 100 == 0:
                log.info("%d frames", len(found[0]["total"]))
        for net, (kinds, repeated), times in zip(self._networks, self._cycles, found, strict=True):
            if not {kind for kind, _ in times["total"]} & set(repeated):
                raise UserError(
                    f"video '{self._video.path}' is too short for {net.method}; give one of {len(kinds)} frames"
                )
        rounds = [{step: [times] for step, times in steps.items()} for steps in found]
        if not isinstance(keys[0], BudgetedKeys):
            return VideoTimes(rounds, None, None)
        info, spending = videos[0].info, keys[0].spending
        gmacs = spending.gmacs(lambda: self._runners[0].costs(info.height, info.width))
        return VideoTimes(rounds, spending, gmacs)

    def measure_pipelined(self) -> list[list[float]]:
        """Milliseconds per frame of each network in rounds over the whole video, from file to labels.

        Frames are decoded, and their motion searched, while the network runs, as in `src.predict`. Networks take turns.
        """
        found: list[list[float]] = [[] for _ in self._runners]
        for number in range(ROUNDS):
            order = range(len(self._runners))
            for n in order if number % 2 else reversed(order):
                video, keys = self._start(n)
                started = time.perf_counter()
                frames = sum(1 for _ in segment(video, self._runners[n], keys, AHEAD))
                found[n].append(1000 * (time.perf_counter() - started) / frames)
        return found

    def _start(self, n: int) -> tuple[Video, KeyedMotion]:
        """The video from its first frame on, and what chooses the keyframes of the n-th network."""
        given, runner = self._video, self._runners[n]
        policy, budget = (given.policy, given.budget) if n == 0 else ("fixed", None)
        video = self._open(runner)
        size = video.info.height, video.info.width
        return video, keys_of(policy, budget, runner, size, given.gop, all_intra=video.info.all_intra)

    def _open(self, runner: FrameRunner) -> Video:
        motion: MotionSource = "auto" if runner.uses_motion else "none"
        return Video(self._video.path, motion, "stop", self._threads, remedy="copy it again, or give another")


def _kind(net: VideoSegmenter, cycle: FrameCycle, index: int, result: Segmented) -> str:
    if net.uses_motion:
        return "key" if result.is_key else "warp" if result.warp_only else "nonkey"
    return cycle.kinds[min(index, len(cycle.kinds) - 1)]


def _add(times: dict[str, Round], kind: str, result: Segmented) -> None:
    spent = vars(result.milliseconds)
    for step in STEPS:
        times[step].append((kind, sum(spent.values()) if step == "total" else spent[step]))
