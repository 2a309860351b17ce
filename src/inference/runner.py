"""One way to run any of our networks on the frames of a film."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.checkpoints.load import Loaded
from src.data.batch import Sample, normalise
from src.data.transforms import FitSize
from src.models.arseg.net import ARSeg
from src.models.video import at_picture_size, constant_resolution
from src.ops.resize import resize
from src.video.motion.field import identity, rasterise
from src.video.types import MotionField
from src.video.vectors.exported import NO_ROWS


class FrameNetwork:
    """Pictures in, labels out; the state goes through the caller, so that one network serves several films.

    AR-Seg steps with motion, networks with `step` carry their state from frame to frame, and every other one
    sees each frame alone, shrunk by the checkpoint's `lr_scale`. Where pictures were fitted to a size in training,
    frames and their motion are too.

    Attributes:
        follows_motion: whether frames between keyframes need their motion.
    """

    def __init__(self, loaded: Loaded, device: torch.device) -> None:
        net: Any = loaded.net
        self._net = net.to(device=device, memory_format=torch.channels_last).eval()
        self._normalisation, self._scale, self._device = loaded.normalisation, loaded.lr_scale, device
        self._fit = loaded.fit
        self.follows_motion = isinstance(net, ARSeg)
        self._has_state = hasattr(net, "init_state")

    def init_state(self) -> Any:
        """The state before the first frame."""
        return self._net.init_state() if self._has_state else None

    @torch.inference_mode()
    def step(self, picture: NDArray[np.uint8], state: Any, motion: MotionField | None) -> tuple[NDArray[np.uint8], Any]:
        """Labels (H, W) of the next picture (H, W, 3) RGB, and the state after it; motion None = keyframe."""
        size = picture.shape[0], picture.shape[1]
        if self._fit is not None:
            picture, motion = _fitted(self._fit, picture, motion)
        image = normalise(torch.from_numpy(picture).to(self._device).permute(2, 0, 1)[None], self._normalisation)
        image = image.contiguous(memory_format=torch.channels_last)
        if self.follows_motion and motion is not None:
            field, valid = (self._batched(x) for x in (motion.field, motion.valid))
            logits, state = self._net.step(image, state, motion=field, motion_valid=valid)
        elif self._has_state:
            logits, state = self._net.step(image, state)
        else:
            logits = constant_resolution(self._net, image, self._scale)
        return resize(at_picture_size(logits, image), size)[0].argmax(0).to(torch.uint8).cpu().numpy(), state

    def warm_up(self, height: int, width: int) -> None:
        """Compile and allocate what the first keyframe and the first other frame need, outside all timing."""
        picture = np.zeros((height, width, 3), np.uint8)
        state = self.step(picture, self.init_state(), None)[1]
        if self.follows_motion:
            self.step(picture, state, rasterise(NO_ROWS, height, width))

    def _batched(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)[None]


def _fitted(
    fit: FitSize, picture: NDArray[np.uint8], motion: MotionField | None
) -> tuple[NDArray[np.uint8], MotionField | None]:
    to_key = identity(picture.shape[0], picture.shape[1]) if motion is None else motion
    unlabelled = np.zeros(picture.shape[:2], np.uint8)
    fitted = fit(Sample(picture[None], unlabelled, to_key.field, to_key.valid, 0, ""))
    return fitted.frames[0], None if motion is None else MotionField(fitted.motion, fitted.motion_valid)
