"""Times of methods on a video, decoding and motion included."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from src.benchmarking.latency import Round
from src.data.images import Normalisation
from src.errors import UserError
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.segment import AHEAD, Segmented, segment
from src.models.video import VideoSegmenter
from src.video.reading.decode import Video

log = logging.getLogger(__name__)

ROUNDS = 3  # of the pipelined measurement
STEPS = ("decode", "motion", "network", "total")
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))  # any will do: the labels are not used


def measure_video(
    networks: list[VideoSegmenter], path: Path, gop: int, device: torch.device, threads: int
) -> list[dict[str, list[Round]]]:
    """One round over the whole video for each network and step, in the form of `latency.measure`.

    All networks advance frame by frame side by side, each decoding the video for itself. "network" is from RGB
    in main memory to labels there.

    Raises:
        UserError: a video that cannot be read, or is too short for a frame of the kinds that long ones repeat.
    """
    runs = [_run(net, path, gop, device, threads) for net in networks]
    found: list[dict[str, Round]] = [{step: [] for step in STEPS} for _ in networks]
    for results in zip(*runs, strict=True):
        for net, times, result in zip(networks, found, results, strict=True):
            _add(times, _kind(net, gop, len(times["total"]), result), result)
        if len(found[0]["total"]) % 100 == 0:
            log.info("%d frames", len(found[0]["total"]))
    for net, times in zip(networks, found, strict=True):
        kinds, repeated = net.cycle(gop)
        if not {kind for kind, _ in times["total"]} & set(repeated):
            raise UserError(f"video '{path}' is too short for {net.method}; give one of {len(kinds)} frames")
    return [{step: [times] for step, times in steps.items()} for steps in found]


def measure_pipelined(
    networks: list[VideoSegmenter], path: Path, gop: int, device: torch.device, threads: int
) -> list[list[float]]:
    """Milliseconds per frame of each network in rounds over the whole video, from file to labels.

    Frames are decoded, and their motion searched, while the network runs, as in `src.predict`. Networks take turns.
    """
    found: list[list[float]] = [[] for _ in networks]
    for number in range(ROUNDS):
        order = list(zip(networks, found, strict=True))
        for net, times in order if number % 2 else reversed(order):
            results = _run(net, path, gop, device, threads, ahead=AHEAD)
            started = time.perf_counter()
            frames = sum(1 for _ in results)
            times.append(1000 * (time.perf_counter() - started) / frames)
    return found


def _run(
    net: VideoSegmenter, path: Path, gop: int, device: torch.device, threads: int, ahead: int = 0
) -> Iterator[Segmented]:
    runner = FrameRunner(net, NORMALISATION, device)
    video = Video(
        path, "auto" if runner.uses_motion else "none", "stop", threads, remedy="copy it again, or give another"
    )
    runner.warm_up(video.info.height, video.info.width)
    return segment(video, runner, KeyedMotion(gop, video.info.all_intra), ahead)


def _kind(net: VideoSegmenter, gop: int, index: int, result: Segmented) -> str:
    if net.uses_motion:
        return "key" if result.is_key else "nonkey"
    kinds = net.cycle(gop).kinds
    return kinds[min(index, len(kinds) - 1)]


def _add(times: dict[str, Round], kind: str, result: Segmented) -> None:
    spent = vars(result.milliseconds)
    for step in STEPS:
        times[step].append((kind, sum(spent.values()) if step == "total" else spent[step]))
