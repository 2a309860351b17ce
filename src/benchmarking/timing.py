"""Times of a method in its inference form, beside its own network on every frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from src.benchmarking.latency import Round, inputs, means, measure, ratio, statistics
from src.benchmarking.video_latency import TimedVideo, VideoTimer
from src.inference.device import hardware, peak_memory, reset_peak_memory
from src.inference.engine.choose import tune
from src.models.deploy.inference_form import inference_form
from src.models.video import VideoSegmenter
from src.ops.cpu.memory import keep_freed_memory


@dataclass(frozen=True)
class TimingOptions:
    """Set what is measured, and how.

    Attributes:
        gop: frames from keyframe to keyframe.
        device: that the networks run on.
        threads: of networks and decoder together.
        backend, precision: of the parts of the networks, see `src.inference.engine`.
        channels_last: memory format of weights and images.
        merge: parallel branches of the training form into one convolution.
        fold: batch norms into the convolutions before them.
        warmup: rounds before the clock; a round is one cycle of the method.
        rounds: measured.
        video: in place of random images: decoding and motion are timed too, in one round.
    """

    gop: int
    device: torch.device
    threads: int
    backend: str
    precision: str
    channels_last: bool
    merge: bool
    fold: bool
    warmup: int
    rounds: int
    video: TimedVideo | None


def time_it(net: VideoSegmenter, options: TimingOptions, size: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds per frame by kind, and the share of the time of the same network run at constant full resolution.

    Args:
        net: on the CPU, in eval mode.
        options: how to measure.
        size: (height, width) of the images; of the video, where there is one.

    Raises:
        UserError: a video that cannot be used.
    """
    keep_freed_memory()
    device = options.device
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True  # one or two image sizes, so the search pays
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # fp32 is meant
    net = inference_form(net, options.fold, options.merge).to(device)
    if options.channels_last:
        net = net.to(memory_format=torch.channels_last)
    image = inputs(size)[0].to(device)
    tuned = tune(net, options.backend, options.precision, [image], options.threads, least=0)  # labels of noise
    untuned, net = net, tuned.network
    constant = [other for other in net.comparisons() if other.method == "constant" and other.scale == 1]
    networks = [net, *constant[:1]]
    reset_peak_memory(device)
    if options.video is None:
        counts = options.warmup, options.rounds
        rounds = measure(networks, size, options.gop, device, *counts, options.channels_last)
        found = _times([net.cycle(options.gop).repeated for net in networks], [{"network": one} for one in rounds])
    else:
        found = _of_video(VideoTimer(networks, untuned, options.video, device, options.threads))
    return {
        **found,
        "rounds": 1 if options.video else options.rounds,
        "device": str(device),
        "hardware": hardware(device),
        "threads": options.threads,
        "backend": tuned.engine.backend,
        "precision": tuned.engine.precision,
        "peak_memory_mb": peak_memory(device),
        "channels_last": options.channels_last,
        "folded": options.fold,
    }


def _of_video(timer: VideoTimer) -> dict[str, Any]:
    """Times by step and kind, what a budget was spent on, and times with decoding beside the network."""
    times = timer.measure()
    found = _times(timer.repeated, times.rounds)
    if times.spending is not None:
        found["spending"] = {**times.spending.as_dict(), "gmacs": times.gmacs}
    own, *constant = timer.measure_pipelined()
    found["pipelined"] = {"milliseconds": round(float(np.median(own)), 3)}
    if constant:
        found["pipelined"]["constant_milliseconds"] = round(float(np.median(constant[0])), 3)
        found["pipelined"]["ratio_to_constant"] = ratio(own, constant[0])
    return found


def _times(repeated: list[tuple[str, ...]], found: list[dict[str, list[Round]]]) -> dict[str, Any]:
    """By step and kind; those of the constant network too, and the ratio of the means, if there is one.

    Args:
        repeated: kinds of frames of each network that count for the mean.
        found: times of each network.
    """
    tables = [
        {step: statistics(rounds, kinds) for step, rounds in times.items()}
        for kinds, times in zip(repeated, found, strict=True)
    ]
    if len(found) == 1:
        return {"milliseconds": tables[0]}
    ratios = {
        step: ratio(*(means(times[step], kinds) for kinds, times in zip(repeated, found, strict=True)))
        for step in tables[0]
        if step in ("network", "total")
    }
    return {"milliseconds": tables[0], "constant_milliseconds": tables[1], "ratio_to_constant": ratios}
