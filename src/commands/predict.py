"""Command `src.predict`: a checkpoint and a video in, a folder of results out."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.cli.config import plain
from src.inference.api import StreamSegmenter, load_segmenter
from src.inference.options import PredictOptions
from src.inference.output_folder import atomic_output_folder
from src.inference.outputs import Overlay, write_labels
from src.inference.segment import Segmented
from src.inference.timing import TimingFile
from src.pipeline import Consumer
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
    given = plain(config)
    del given["plugins"]  # imported by now
    print_summary(predict(PredictOptions(**given.pop("video"), **given)))


def predict(options: PredictOptions) -> dict[str, Any]:
    """Segment a video into `options.output`; return the summary that `timing.json` also holds.

    The folder gets overlay.mp4, timing.json and, if asked for, labels/<frame index>.png, all at the end: a
    run that fails or is interrupted leaves nothing. A folder that is not empty is rejected.

    Raises:
        UserError: a checkpoint, video or output that cannot be used, or a damaged video under on_damage=stop.
    """
    with atomic_output_folder(Path(options.output)) as folder:
        # one budget of threads for network, decoder and encoder
        segmenter = load_segmenter(
            options.checkpoint, options.device, options.threads, options.backend, options.precision
        )
        video = segmenter.open(options.source, options.motion, options.on_damage)
        summary = _run(options, folder, video, segmenter)
    log.info("results: %s", options.output)
    return summary


def _run(options: PredictOptions, folder: Path, video: Video, segmenter: StreamSegmenter) -> dict[str, Any]:
    info, max_gop = video.info, options.max_gop or segmenter.gop
    labels, drawn = folder / "labels", Overlay(segmenter.classes, options.opacity)
    if options.save_labels:
        labels.mkdir()
    with (
        RetimedVideo(folder / "overlay.mp4", video, segmenter.threads) as shown,
        TimingFile(folder / "timing.json") as timing,
    ):

        def write(result: Segmented) -> None:
            began = time.perf_counter()
            shown.write(drawn.draw(result), result.frame.pts)
            if options.save_labels:
                write_labels(labels, result)
            timing.write(result, 1000 * (time.perf_counter() - began))

        results = segmenter.run(video, max_gop)
        started = time.perf_counter()
        with closing(results), Consumer(write, segmenter.ahead) as writer:
            for result in track(results, "frames", info.frames):
                writer.put(result)
        about = {
            "checkpoint": options.checkpoint,
            "source": options.source,
            "codec": info.codec,
            "height": info.height,
            "width": info.width,
            "start_seconds": float(info.start),
            "motion": video.info.motion,  # that may have changed on the way
            "max_gop": max_gop if segmenter.network.uses_motion else None,
            "device": str(segmenter.device),
            "threads": segmenter.threads,
            "backend": segmenter.runner.engine.backend,
            "precision": segmenter.runner.engine.precision,
        }
        return timing.finish(about, time.perf_counter() - started)
