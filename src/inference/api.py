"""The Python interface: a checkpoint and a video in, labels out, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from src.checkpoints.load import LoadedModel, load_checkpoint
from src.data.labels import ClassSet
from src.errors import UserError, check_range
from src.inference.device import choose_device, choose_threads
from src.inference.engine.options import CALIBRATION_IMAGES, CALIBRATION_STEP, PLAIN, candidates
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.inference.segment import AHEAD, Segmented, segment
from src.models.video import FrameInput, VideoSegmenter
from src.ops.cpu.memory import keep_freed_memory
from src.video.reading.damage import Policy
from src.video.reading.decode import MotionSource, Video
from src.video.reading.live import LiveVideo, is_live

MakeRunner = Callable[[LoadedModel, torch.device], FrameRunner]

__all__ = ["FrameInput", "Segmented", "StreamSegmenter", "Video", "load_segmenter"]


class StreamSegmenter:
    """A trained method, ready to label videos; one may serve several videos at once.

    Attributes:
        classes: names and palette; `classes.colour(labels)` gives (H, W, 3) RGB.
        runner: from single uint8 images to labels, see `FrameRunner`.
        normalisation: of the images that `network` takes.
        gop: frames from keyframe to keyframe in training.
        device: that the network is on.
        threads: of network and decoder together.
        workers: threads that may run the network at the same time, each with its share of `threads`.
        ahead: frames that are decoded while the network runs; 0 with a single thread, where nothing is gained.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        device: torch.device,
        threads: int,
        backend: str = "torch",
        precision: str = "fp32",
        workers: int = 1,
        make_runner: MakeRunner = runner_of,
    ) -> None:
        candidates(backend, precision, device.type)  # before any work
        self._wanted = None if (backend, precision) == PLAIN else (backend, precision)
        self.runner: FrameRunner = make_runner(loaded, device)
        self.classes: ClassSet = loaded.classes
        self.normalisation = loaded.normalisation
        self.gop, self.device, self.threads, self.workers = loaded.gop, device, threads, workers
        self.ahead = AHEAD if threads > 1 else 0

    @property
    def network(self) -> VideoSegmenter:
        """The method in inference form, on its device and, once a video has been run, on its backend.

        For research: `network.step(FrameInput(images, motion), state)` takes batches (B, 3, H, W) of normalised RGB
        and gives logits (B, K, H, W) and the state after.
        """
        return self.runner.network

    def open(
        self,
        source: str | Path,
        motion: MotionSource = "auto",
        on_damage: Policy = "stop",
        reconnect: int | None = None,
    ) -> Video:
        """Open a video with the motion that the method needs.

        Args:
            source: path of the video, or a live source, see `src.video.reading.live.is_live`.
            motion: "exact" vectors of the codec, "estimate" by block search, "transcode" those of an H.264 stream that
                the frames are encoded as on the way, or "auto", exact where they can be had, else "estimate".
            on_damage: "stop" at corrupt frames, or "continue" with a keyframe after them, as live sources always do; of
                these it is for files behind an http address that break off for good.
            reconnect: attempts in a row to reconnect a live source; None for no limit.

        Raises:
            UserError: a video that cannot be read, or without exact vectors where these are asked for.
        """
        used = motion if self.network.uses_motion else "none"
        if is_live(str(source)):
            return LiveVideo(str(source), used, reconnect, on_damage)
        # beside the network, decoding has a share of the threads
        return Video(source, used, on_damage, max(1, self.threads // 2))

    def run(self, video: Video | str | Path, max_gop: int | None = None) -> Generator[Segmented, None, None]:
        """Label each frame, in display order: `labels` (H, W) uint8, `is_key`, `milliseconds`, and the `frame` itself.

        A thread decodes `ahead` frames, until the generator ends or is closed. Beside them it holds one frame, one
        motion field and one state, whatever the length of the video.

        Args:
            video: from `open`, or a path.
            max_gop: frames from keyframe to keyframe at most; None for the GOP of the training.

        Raises:
            UserError: a video that cannot be read, or is corrupt under on_damage="stop".
        """
        check_range(max_gop is None or max_gop >= 1, "max_gop", max_gop, "1 or more, or None for that of the training")
        opened = video if isinstance(video, Video) else self.open(video)
        self.prepare(opened)
        return segment(opened, self.runner, KeyedMotion(max_gop or self.gop, opened.info.all_intra), self.ahead)

    def prepare(self, video: Video, is_only: bool = False) -> None:
        """Choose the engine on the first video, and compile for the size of this one, outside all timing.

        For the only video engines are compared no longer than it is worth.
        """
        self._tune(video, float(video.info.frames or math.inf) if is_only else math.inf)
        self.runner.warm_up(video.info.height, video.info.width)

    def _tune(self, video: Video, frames: float) -> None:
        """Choose the engine for so many frames on the first ones of the first video."""
        if self._wanted is None:
            return
        backend, precision = self._wanted
        step, count = (CALIBRATION_STEP, CALIBRATION_IMAGES) if precision == "int8" else (1, 1)
        if isinstance(video, LiveVideo):  # whose frames come but once: labels cannot be compared
            if precision == "int8":
                raise UserError(
                    "precision=int8 is calibrated on a file; name one, or give another precision for live sources"
                )
            precision = "fp32" if precision == "auto" else precision
            images = [np.full((video.info.height, video.info.width, 3), 128, np.uint8)]
        else:
            decoded = iter(Video(video.path, "none", video.on_damage, self.threads))
            images = [frame.image for frame in islice(decoded, 0, step * count, step)]
        self.runner.tune(images, backend, precision, self.threads // self.workers, self.workers, frames)
        self._wanted = None


def load_segmenter(
    checkpoint: str | Path,
    device: str = "auto",
    threads: int | None = None,
    backend: str = "torch",
    precision: str = "fp32",
    streams: int = 1,
    make_runner: MakeRunner = runner_of,
    lr_scale: float | None = None,
) -> StreamSegmenter:
    """Load a checkpoint of `src.train` or `src.convert` in its inference form.

    Args:
        checkpoint: path of the .ckpt file; nothing in it is executed.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto", which is CUDA where there is one.
        threads: of network and decoder together, set for the whole process; None for OMP_NUM_THREADS or all cores.
        backend: "torch", "compile", "openvino" or "onnxruntime", or "auto": what is fastest on the first frame.
        precision: "fp32", "bf16", "fp16" (GPUs), "int8" (OpenVINO, calibrated on the first video), or "auto": bf16
            where it is faster and its labels are those of fp32 (on files; live sources stay in fp32).
        streams: videos that are segmented at the same time. On a CPU they share the threads, for one thread on each of
            two frames does more than two on one.
        make_runner: another way to run the network, such as one that adapts it.
        lr_scale: of images between keyframes, for AR-Seg; None: that of the training.

    Raises:
        UserError: no such file, damaged, not written by this project, no such device, or a backend or precision
            that does not run on it.
    """
    count, chosen = choose_threads(threads), choose_device(device)
    workers = min(streams, count) if chosen.type == "cpu" else 1
    torch.set_num_threads(count // workers)  # of each
    keep_freed_memory()
    return StreamSegmenter(
        load_checkpoint(checkpoint, lr_scale), chosen, count, backend, precision, workers, make_runner
    )
