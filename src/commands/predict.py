"""Command `src.predict`: a checkpoint and a video in, a folder of results out."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from src.checkpoints.load import LoadedModel, load_checkpoint
from src.cli.config import plain
from src.cli.entry import exit_on_sigterm
from src.inference.device import choose_device, choose_threads
from src.inference.keyframes import KeyedMotion
from src.inference.options import PredictOptions
from src.inference.output_folder import atomic_output_folder
from src.inference.outputs import overlay, write_labels
from src.inference.runner import FrameRunner, runner_of
from src.inference.segment import segment
from src.inference.timing import TimingFile
from src.progress import track
from src.reports.prediction import print_summary
from src.video.reading.decode import Video
from src.video.writing.retimed import RetimedVideo

log = logging.getLogger(__name__)


def segment_video(config: DictConfig) -> None:
    """Segment the video of a composed conf/predict.yaml, and print the summary.

    Raises:
        UserError: see `PredictOptions` and `predict`.
    """
    exit_on_sigterm()
    given = plain(config)
    del given["plugins"]  # imported by now
    print_summary(predict(PredictOptions(**given.pop("video"), **given)))


def predict(options: PredictOptions) -> dict[str, Any]:
    """Segment a video into `options.output`; return the summary that `timing.json` also holds.

    The folder gets overlay.mp4, timing.json and, if asked for, labels/<frame index>.png, all at the end: a
    run that fails or is interrupted leaves nothing. A folder that is not empty is refused.

    Raises:
        UserError: a checkpoint, video or output that cannot be used, or a damaged video under on_damage=stop.
    """
    with atomic_output_folder(Path(options.output)) as folder:
        threads = choose_threads(options.threads)  # one budget for network, decoder and encoder
        torch.set_num_threads(threads)
        loaded = load_checkpoint(options.checkpoint)
        runner = runner_of(loaded, choose_device(options.device))
        motion = options.motion if runner.uses_motion else "none"
        video = Video(options.source, motion, options.on_damage, threads)
        summary = _run(options, folder, video, runner, loaded)
    log.info("results: %s", options.output)
    return summary


def _run(
    options: PredictOptions, folder: Path, video: Video, runner: FrameRunner, loaded: LoadedModel
) -> dict[str, Any]:
    info, threads = video.info, choose_threads(options.threads)
    max_gop = options.max_gop or loaded.gop
    runner.warm_up(info.height, info.width)
    labels = folder / "labels"
    if options.save_labels:
        labels.mkdir()
    started = time.perf_counter()
    with (
        RetimedVideo(folder / "overlay.mp4", video, threads) as shown,
        TimingFile(folder / "timing.json") as timing,
    ):
        for result in track(segment(video, runner, KeyedMotion(max_gop, info.all_intra)), "frames", info.frames):
            shown.write(overlay(result, loaded.classes, options.opacity), result.frame.pts)
            timing.write(result)
            if options.save_labels:
                write_labels(labels, result)
        about = {
            "checkpoint": options.checkpoint,
            "source": options.source,
            "codec": info.codec,
            "height": info.height,
            "width": info.width,
            "motion": info.motion,
            "max_gop": max_gop if runner.uses_motion else None,
            "device": str(choose_device(options.device)),
            "threads": threads,
        }
        return timing.finish(about, time.perf_counter() - started)
