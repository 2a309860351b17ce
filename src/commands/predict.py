"""What `src.predict` does: a checkpoint and a film in, a folder of results out."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from src.checkpoints.load import Loaded, load_checkpoint
from src.inference.keyframes import KeyedMotion
from src.inference.options import Request
from src.inference.output_folder import staged
from src.inference.outputs import overlay, write_labels
from src.inference.progress import watched
from src.inference.runner import FrameNetwork
from src.inference.segment import segment
from src.inference.timing import TimingFile
from src.video.reading.decode import Video
from src.video.writing.retimed import RetimedVideo

log = logging.getLogger(__name__)


def predict(request: Request) -> dict[str, Any]:
    """Segment a film into `request.output`; the summary that `timing.json` also holds.

    The folder gets overlay.mp4, timing.json and, if asked for, labels/<frame index>.png, all at the end: a
    run that fails or is interrupted leaves nothing. A folder that is not empty is refused.

    Raises:
        UserError: a checkpoint, film or output that cannot be used, or a damaged film under on_damage=stop.
    """
    with staged(Path(request.output)) as folder:
        threads = request.thread_count()  # one budget for network, decoder and encoder
        torch.set_num_threads(threads)
        loaded = load_checkpoint(request.checkpoint)
        network = FrameNetwork(loaded, request.torch_device())
        motion = request.motion if network.follows_motion else "none"
        film = Video(request.source, motion, request.on_damage, threads)
        summary = _run(request, folder, film, network, loaded)
    log.info("results: %s", request.output)
    return summary


def _run(request: Request, folder: Path, film: Video, network: FrameNetwork, loaded: Loaded) -> dict[str, Any]:
    info, threads = film.info, request.thread_count()
    max_gop = request.max_gop or int(OmegaConf.select(loaded.config, "video.gop", default=12))
    network.warm_up(info.height, info.width)
    labels = folder / "labels"
    if request.save_labels:
        labels.mkdir()
    started = time.perf_counter()
    with (
        RetimedVideo(folder / "overlay.mp4", film, threads) as shown,
        TimingFile(folder / "timing.json") as timing,
    ):
        for result in watched(segment(film, network, KeyedMotion(max_gop, info.all_intra)), info.frames):
            shown.write(overlay(result, loaded.classes, request.opacity), result.frame.pts)
            timing.write(result)
            if request.save_labels:
                write_labels(labels, result)
        about = {
            "checkpoint": request.checkpoint,
            "source": request.source,
            "codec": info.codec,
            "height": info.height,
            "width": info.width,
            "motion": info.motion,
            "max_gop": max_gop if network.follows_motion else None,
            "device": str(request.torch_device()),
            "threads": threads,
        }
        return timing.finish(about, time.perf_counter() - started)
