"""Every form of a network computes the same."""

from __future__ import annotations

import pytest
import torch

from src.models.base import Segmenter
from src.models.deploy.frozen import frozen_features
from src.models.deploy.inference_form import inference_form
from src.models.video import as_video_segmenter, run_cycle
from tests.support.network_cases import CASES, trained

SIZE = (64, 96)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_every_form_of_a_network_computes_the_same(name: str) -> None:
    net = trained(name).eval()
    image = torch.randn(1, 3, *SIZE)
    method = as_video_segmenter(net)
    plain = run_cycle(method, image)
    for expected, actual in zip(plain, run_cycle(inference_form(method), image), strict=True):
        assert float((expected - actual).abs().max()) <= 1e-4 * float(expected.abs().max())
    for branch in (net, getattr(net, "high", None)):
        if isinstance(branch, Segmenter):
            expected, fast = branch.features(image), frozen_features(branch)
            assert getattr(fast, "__self__", branch) is not branch, "the fast form was not used"
            assert float((expected - fast(image)).abs().max()) <= 1e-4 * float(expected.abs().max())
