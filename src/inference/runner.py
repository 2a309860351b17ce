"""Images in, labels out: one way to run any method on the frames of a video."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.checkpoints.load import LoadedModel
from src.data.batch import Sample, normalise
from src.data.images import Normalisation
from src.data.transforms import FitSize
from src.inference.engine.choose import tune
from src.inference.engine.cuda_graphs import labeller
from src.inference.engine.options import PLAIN, Engine
from src.metrics.cost import frame_costs
from src.models.deploy.inference_form import inference_form
from src.models.two_sided import Side, coarse_between
from src.models.video import FrameInput, VideoSegmenter, split_state, stack_states
from src.video.motion.field import identity, rasterise
from src.video.types import MotionField
from src.video.vectors.exported import NO_ROWS

TIMED = 5  # frames of each kind


class FrameRunner:
    """Runs a method frame by frame; the state goes through the caller, so that one network serves several videos.

    Where images were fitted to a size in training, frames and their motion are too.

    Args:
        network: in the form that is run.
        normalisation: of its input.
        device: that it runs on.
        fit: the size that images had in training before augmentation; None for their own.
        untuned: the network before it was put on an engine, whose multiply-adds are counted; None: it is on none yet.

    Attributes:
        uses_motion: whether frames between keyframes need their motion.
        engine: that the parts of its networks run on.
    """

    def __init__(
        self,
        network: VideoSegmenter,
        normalisation: Normalisation,
        device: torch.device,
        fit: FitSize | None = None,
        untuned: VideoSegmenter | None = None,
    ) -> None:
        network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.eval()
        self._untuned = untuned or self.network
        self._costs: dict[tuple[int, int], dict[str, float]] = {}
        self._times: dict[tuple[int, int], dict[str, float]] = {}
        self._normalisation, self._device, self._fit = normalisation, device, fit
        values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
        self._normalised = normalise(values, normalisation).permute(1, 2, 0).contiguous().numpy()
        self.uses_motion, self.engine = network.uses_motion, PLAIN
        self._labels = labeller(self.network, device)

    def init_state(self) -> Any:
        """The state before the first frame."""
        return self.network.init_state()

    @torch.inference_mode()
    def step(
        self,
        image: NDArray[np.uint8],
        state: Any,
        motion: MotionField | None,
        size: tuple[int, int] | None = None,
        warp_only: bool = False,
    ) -> tuple[NDArray[np.uint8], Any]:
        """Label the next frame.

        Args:
            image: (H, W, 3) RGB.
            state: of the frame before, or `init_state()`.
            motion: to the latest keyframe; None for a keyframe, and for methods that use no motion.
            size: (height, width) of the labels; None for that of the image.
            warp_only: as of `FrameInput`.

        Returns:
            Class indices (height, width) uint8, and the state after the frame.
        """
        frame = self._frame(image, motion, warp_only)
        labels, state = self._labels(frame, state, size or (image.shape[0], image.shape[1]))
        return labels[0].cpu().numpy(), state

    @torch.inference_mode()
    def step_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        states: Sequence[Any],
        motions: Sequence[MotionField | None],
        warp_only: bool = False,
    ) -> list[tuple[NDArray[np.uint8], Any]]:
        """Label the next frame of several streams at once; arguments and results as of `step`, one for each stream.

        The images have one size, the states one `state_layout`, and all or none are keyframes.
        """
        if len(images) == 1:
            return [self.step(images[0], states[0], motions[0], warp_only=warp_only)]
        frames = [self._frame(image, motion, warp_only) for image, motion in zip(images, motions, strict=True)]
        height, width = images[0].shape[:2]
        labels, state = self._labels(stack_states(frames), stack_states(states), (height, width))
        return list(zip(labels.cpu().numpy(), split_state(state, len(images)), strict=True))

    @torch.inference_mode()
    def label_between(
        self, image: NDArray[np.uint8], sides: Sequence[tuple[Any, Tensor, MotionField, float]]
    ) -> NDArray[np.uint8]:
        """Label a frame from keyframes before and after it, see `src.models.two_sided`; no network runs.

        Args:
            image: (H, W, 3) RGB.
            sides: of each keyframe the state after it, its `brightness`, the motion to it, and its nearness 0..1.

        Returns:
            Class indices (H, W) uint8.
        """
        seen = [
            Side(self._frame(image, motion), state, brightness, nearness)
            for state, brightness, motion, nearness in sides
        ]
        coarse = coarse_between(self.network, self._brightness(seen[0].frame.image), seen)
        labels: NDArray[np.uint8] = coarse.labels((image.shape[0], image.shape[1]))[0].cpu().numpy()
        return labels

    @torch.inference_mode()
    def brightness(self, image: NDArray[np.uint8]) -> Tensor:
        """Brightness (1, 1, H, W) of an image (H, W, 3), 0..1, at the size that the network sees."""
        return self._brightness(self._frame(image, None).image)

    @torch.inference_mode()
    def advance(self, image: NDArray[np.uint8], state: Any, motion: MotionField | None) -> Any:
        """State after a frame whose labels are not needed; arguments as of `step`."""
        return self.network.advance(self._frame(image, motion), state)

    def tune(
        self,
        images: Sequence[NDArray[np.uint8]],
        backend: str,
        precision: str,
        threads: int,
        workers: int = 1,
        frames: float = math.inf,
    ) -> Engine:
        """Put the method on a backend and precision, see `src.inference.engine.choose.tune`.

        Args:
            images: (H, W, 3) RGB of the video; the first one is measured on, all calibrate int8.
            backend, precision: "auto" or names.
            threads: of the backend, for one run.
            workers: threads that may call `step` at the same time.
            frames: that there will be.

        Raises:
            UserError: what does not run here.
        """
        inputs = [self._frame(image, None).image for image in images]
        tuned = tune(self.network, backend, precision, inputs, threads, workers, frames=frames)
        self.network, self.engine = tuned.network, tuned.engine
        self._times.clear()
        self._labels = labeller(self.network, self._device)
        return tuned.engine

    def costs(self, height: int, width: int) -> dict[str, float]:
        """Return the multiply-adds of each kind of frame of this size, see `frame_costs`."""
        if (height, width) not in self._costs:
            size = (height, width) if self._fit is None else self._fit.size(height, width)
            self._costs[height, width] = frame_costs(self._untuned, size)
        return self._costs[height, width]

    def times(self, height: int, width: int) -> dict[str, float]:
        """Measure, once for each size, the milliseconds of a "key", "nonkey" and "warp" frame, the least of `TIMED`."""
        if (height, width) not in self._times:
            self._times[height, width] = self._measured(height, width)
        return self._times[height, width]

    def _measured(self, height: int, width: int) -> dict[str, float]:
        self.warm_up(height, width)
        image, motion = np.zeros((height, width, 3), np.uint8), identity(height, width)
        state = self.step(image, self.init_state(), None)[1]
        found: dict[str, list[float]] = {"key": [], "nonkey": [], "warp": []}
        for _ in range(TIMED):
            for kind, seconds in found.items():
                began = time.perf_counter()
                self.step(image, state, None if kind == "key" else motion, warp_only=kind == "warp")
                seconds.append(time.perf_counter() - began)
        return {kind: 1000 * min(seconds) for kind, seconds in found.items()}

    def reference(self) -> FrameRunner | None:
        """The runner of the full-resolution branch that the method is compared with; None where it has none."""
        found = [net for net in self.network.comparisons() if net.cycle(2).is_constant and not net.uses_motion]
        best = max(found, key=lambda net: net.scale, default=None)
        return None if best is None else FrameRunner(best, self._normalisation, self._device, self._fit)

    def warm_up(self, height: int, width: int) -> None:
        """Compile and allocate before the first frame, outside all timing."""
        image = np.zeros((height, width, 3), np.uint8)
        state = self.step(image, self.init_state(), None)[1]
        if self.uses_motion:
            motion = rasterise(NO_ROWS, height, width)
            for warp_only in (False, True) if self.network.can_warp else (False,):
                self.step(image, state, motion, warp_only=warp_only)

    def _frame(self, image: NDArray[np.uint8], motion: MotionField | None, warp_only: bool = False) -> FrameInput:
        if self._fit is not None:
            image, motion = _fitted(self._fit, image, motion)
        pixels = self._pixels(image)
        if motion is None or not self.uses_motion:
            return FrameInput(pixels)
        return FrameInput(pixels, self._batched(motion.field), self._batched(motion.valid), warp_only)

    def _brightness(self, pixels: Tensor) -> Tensor:
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in astuple(self._normalisation))
        return (pixels * std + mean).mean(1, keepdim=True)

    def _pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """The normalised image (1, 3, H, W), channels_last; on CPU from a table, with the same result."""
        if self._device.type == "cpu":
            return torch.from_numpy(cv2.LUT(image, self._normalised))[None].permute(0, 3, 1, 2)
        pixels = normalise(self._batched(image).permute(0, 3, 1, 2), self._normalisation)
        return pixels.contiguous(memory_format=torch.channels_last)

    def _batched(self, array: NDArray[Any]) -> Tensor:
        """Copy an array to the device as a batch of one; a GPU's copy runs while the host prepares what follows."""
        host, on_gpu = torch.from_numpy(array), self._device.type == "cuda"
        return (host.pin_memory() if on_gpu else host).to(self._device, non_blocking=on_gpu)[None]


def runner_of(loaded: LoadedModel, device: torch.device) -> FrameRunner:
    """The runner of a checkpoint's network, in inference form."""
    return FrameRunner(inference_form(loaded.network), loaded.normalisation, device, loaded.fit)


def _fitted(
    fit: FitSize, image: NDArray[np.uint8], motion: MotionField | None
) -> tuple[NDArray[np.uint8], MotionField | None]:
    to_key = identity(image.shape[0], image.shape[1]) if motion is None else motion
    unlabelled = np.zeros(image.shape[:2], np.uint8)
    fitted = fit(Sample(image[None], unlabelled, to_key.field, to_key.valid, 0, ""))
    return fitted.frames[0], None if motion is None else MotionField(fitted.motion, fitted.motion_valid)
