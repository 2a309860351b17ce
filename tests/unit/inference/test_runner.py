"""What a network is given for a frame."""

from __future__ import annotations

import numpy as np
import torch

from src.data.batch import normalise
from src.data.images import Normalisation
from src.inference.runner import FrameRunner
from src.models.video import SingleFrame
from tests.support.tiny_arseg import Tiny


def test_network_sees_normalised_pixels_channels_last():
    seen = []

    class Watched(Tiny):
        def features(self, x):
            seen.append(x)
            return super().features(x)

    looks = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    runner = FrameRunner(SingleFrame(Watched()), looks, torch.device("cpu"))
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    labels, _ = runner.step(image, runner.init_state(), None)
    (pixels,) = seen
    assert torch.equal(pixels, normalise(torch.from_numpy(image).permute(2, 0, 1)[None], looks))
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert labels.shape == (40, 56)
    assert labels.dtype == np.uint8
