"""Networks have the parameters, multiply-adds and shapes of their published implementations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from src.models.base import Segmenter
from src.models.bisenetv2.net import BiSeNetV2
from src.models.cgnet.net import CGNet
from src.models.erfnet.net import ERFNet
from src.models.fast_scnn.net import FastSCNN
from src.models.icnet.net import ICNet
from src.models.pidnet.net import PIDNet
from src.models.pp_liteseg.net import PPLiteSeg
from src.models.stdc.net import STDCSeg
from tests.support.rdrnet_variants import gmacs, parameters

Build = Callable[[int], Segmenter]


def stdc(num_classes: int, variant: int) -> STDCSeg:
    """Without the detail head, which has two outputs in mmsegmentation, where the original code has one."""
    net = STDCSeg(num_classes, variant)
    del net.detail
    return net


# Parameters, those of training-only heads among them, and GMACs at 1024 x 2048, with 19 classes: counted on
# mmsegmentation's implementations; PIDNet's with public code; PP-LiteSeg's on PaddleSeg 2.8, less the 512 biases before
# the batch norms of its pyramid, and its GMACs with batch norms and activations.
@pytest.mark.parametrize(
    ("build", "counted", "heads", "cost"),
    [
        pytest.param(BiSeNetV2, 14_804_255, {("boosters",): 14_804_255 - 3_358_883}, 98.41, id="bisenetv2"),
        pytest.param(CGNet, 496_325, {}, 27.05, id="cgnet"),
        pytest.param(ERFNet, 2_084_095, {}, 116.72, id="erfnet"),
        pytest.param(FastSCNN, 1_456_617, {("aux8", "aux32"): 1_456_617 - 1_399_939}, 7.25, id="fast_scnn"),
        pytest.param(
            partial(ICNet, depth=18), 25_174_393, {("aux8", "aux16"): 25_174_393 - 24_874_067}, 74.24, id="icnet18"
        ),
        pytest.param(
            partial(ICNet, depth=50), 47_827_833, {("aux8", "aux16"): 47_827_833 - 47_527_507}, 121.97, id="icnet50"
        ),
        pytest.param(
            partial(stdc, variant=1), 8_425_305, {("aux16", "aux32"): 8_425_305 - 8_275_123}, 67.45, id="stdc1"
        ),
        pytest.param(
            partial(stdc, variant=2), 12_455_769, {("aux16", "aux32"): 12_455_769 - 12_305_587}, 93.83, id="stdc2"
        ),
        pytest.param(
            PPLiteSeg,
            12_366_464 - 512,
            {("aux16",): 56_640, ("aux32",): 75_072},
            pytest.approx(77.17, rel=5e-3),
            id="pp_liteseg",
        ),
        pytest.param(partial(PIDNet, width=64), pytest.approx(28_763_000, abs=500), {}, 177.33, id="pidnet_m"),
        pytest.param(
            partial(PIDNet, width=64, head_channels=256, pooling_channels=112, deep=True),
            pytest.approx(37_314_000, abs=500),
            {},
            274.93,
            id="pidnet_l",
        ),
    ],
)
def test_published_size(build: Build, counted: Any, heads: dict[tuple[str, ...], int], cost: Any) -> None:
    with torch.device("meta"):
        net = build(19)
    assert parameters(net) == counted
    assert {names: sum(parameters(getattr(net, name)) for name in names) for names in heads} == heads
    assert gmacs(net) == (pytest.approx(cost, rel=1e-3) if isinstance(cost, float) else cost)


@pytest.mark.parametrize(
    ("build", "features", "heads"),
    [
        pytest.param(
            BiSeNetV2,
            (1024, 45, 61),
            {"aux4": (5, 89, 121), "aux8": (5, 45, 61), "aux16": (5, 23, 31), "aux32": (5, 12, 16)},
            id="bisenetv2",
        ),
        pytest.param(CGNet, (256, 45, 61), {}, id="cgnet"),
        pytest.param(ERFNet, (128, 360 // 2, 488 // 2), {}, id="erfnet"),  # of the next multiple of eight
        pytest.param(FastSCNN, (128, 45, 61), {"aux8": (5, 45, 61), "aux32": (5, 12, 16)}, id="fast_scnn"),
        pytest.param(partial(ICNet, depth=18), (128, 45, 61), {"aux8": (5, 45, 61), "aux16": (5, 23, 31)}, id="icnet"),
        pytest.param(PPLiteSeg, (64, 45, 61), {"aux16": (5, 23, 31), "aux32": (5, 12, 16)}, id="pp_liteseg"),
        pytest.param(
            partial(STDCSeg, variant=1),
            (256, 45, 61),
            {"aux16": (5, 45, 61), "aux32": (5, 23, 31), "boundary": (1, 45, 61)},
            id="stdc",
        ),
    ],
)
def test_outputs_of_odd_sizes(build: Build, features: tuple[int, ...], heads: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        net, x = build(5), torch.empty(2, 3, 353, 481)
    found, taps = net.encode(x)
    assert found.shape == (2, *features)
    assert {name: tuple(out.shape[1:]) for name, out in net.auxiliary(taps).items()} == heads
    assert net(x).shape == (2, 5, 353, 481)
