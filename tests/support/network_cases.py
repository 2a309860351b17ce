"""Every network behind one face, for the tests that all of them must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from src.models.base import Segmenter
from src.models.bisenet.net import BiSeNet
from src.models.bisenetv2.net import BiSeNetV2
from src.models.cgnet.net import CGNet
from src.models.ddrnet.net import DDRNet
from src.models.deploy.reparameterise import deployed_gcnet, deployed_rdrnet
from src.models.dfanet.net import DFANet
from src.models.efficientvit.net import EfficientViTSeg
from src.models.erfnet.net import ERFNet
from src.models.fast_scnn.net import FastSCNN
from src.models.gcnet.net import GCNet
from src.models.icnet.net import ICNet
from src.models.pidnet.net import PIDNet
from src.models.pp_liteseg.net import PPLiteSeg
from src.models.pspnet.net import PSPNet, PSPNetFull
from src.models.rdrnet.net import RDRNet
from src.models.stdc.net import STDCSeg
from src.models.tdnet.variants import td2_fa18, td4_bise18, td4_psp18
from src.models.timm_segmenter import TimmSegmenter
from src.models.video import FrameInput
from src.ops.resize import downscale
from tests.support.rdrnet_variants import TINY, TINY_GCNET
from tests.support.tiny_arseg import pair, tiny_arseg
from tests.support.tiny_tdnet import tiny_tdnet

CLASSES = 5
SLIM: dict[str, Any] = {"num_classes": CLASSES, "width": 8, "head_channels": 12, "pooling_channels": 8}
Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """A network and how to run it.

    Attributes:
        build: the network, seeded.
        inputs: of `run` in eval mode, for pictures of (height, width).
        run: module whose forward takes `inputs` and gives logits at picture size, first if it gives more.
        training: outputs of one training step on pictures of (height, width), auxiliary ones too.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module, tuple[int, int]], Inputs]
    run: Callable[[nn.Module], nn.Module]
    training: Callable[[nn.Module, tuple[int, int]], list[Tensor]]


def _image(build: Callable[[], Segmenter]) -> Case:
    return Case(build, lambda net, size: (torch.randn(1, 3, *size),), lambda net: net, _image_outputs)


def _image_outputs(net: Any, size: tuple[int, int]) -> list[Tensor]:
    features, taps = net.encode(torch.randn(2, 3, *size))
    return [net.classify(features), *net.auxiliary(taps).values()]


class NonKey(nn.Module):
    """AR-Seg between keyframes."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, low: Tensor, features: Tensor, motion: Tensor, valid: Tensor) -> Tensor:
        return self.net.nonkey(low, features, motion, valid)


def _arseg_inputs(net: Any, size: tuple[int, int]) -> Inputs:
    key, current, motion, valid = pair(1, *size)
    return downscale(current, net.scale), net.key(key)[1], motion, valid


def _arseg_outputs(net: Any, size: tuple[int, int]) -> list[Tensor]:
    out = net.forward_pair(*pair(2, *size))
    return [out.logits, *out.auxiliary.values()]


class Step(nn.Module):
    """TDNet on a frame that has a past."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.net.step(FrameInput(image), state)


def _tdnet_inputs(net: Any, size: tuple[int, int]) -> Inputs:
    state = net.init_state()
    for _ in range(net.num_paths):
        state = net.step(FrameInput(torch.randn(1, 3, *size)), state)[1]
    return torch.randn(1, 3, *size), state


def _tdnet_outputs(net: Any, size: tuple[int, int]) -> list[Tensor]:
    found = []
    for path in range(net.num_paths):
        out = net(torch.randn(2, net.num_paths, 3, *size), path)
        found += [out.fused, out.own, *out.auxiliary.values()]
    return found


def _tdnet(build: Callable[[], nn.Module]) -> Case:
    return Case(build, _tdnet_inputs, Step, _tdnet_outputs)


CASES = {
    "pspnet": _image(lambda: PSPNet(CLASSES)),
    "pspnet_teacher": _image(lambda: PSPNet(CLASSES, 50, "multigrid", deep_stem=True, head_channels=64)),
    "pspnet_full": _image(lambda: PSPNetFull(CLASSES)),
    "bisenet": _image(lambda: BiSeNet(CLASSES)),
    "rdrnet": _image(lambda: RDRNet(**TINY)),
    "ddrnet": _image(lambda: DDRNet(**SLIM)),
    "pidnet": _image(lambda: PIDNet(**SLIM)),
    "gcnet": _image(lambda: GCNet(**TINY_GCNET)),
    "efficientvit_seg": _image(lambda: EfficientViTSeg(CLASSES, "b0")),
    "pidnet_deep": _image(lambda: PIDNet(**SLIM, deep=True)),
    "dfanet_a": _image(lambda: DFANet(CLASSES, "a")),
    "dfanet_b": _image(lambda: DFANet(CLASSES, "b")),
    "bisenetv2": _image(lambda: BiSeNetV2(CLASSES, 64)),
    "stdc": _image(lambda: STDCSeg(CLASSES, 1)),
    "fast_scnn": _image(lambda: FastSCNN(CLASSES)),
    "pp_liteseg": _image(lambda: PPLiteSeg(CLASSES)),
    "icnet": _image(lambda: ICNet(CLASSES, 18)),
    "erfnet": _image(lambda: ERFNet(CLASSES)),
    "cgnet": _image(lambda: CGNet(CLASSES)),
    "timm": _image(lambda: TimmSegmenter("tf_efficientnet_lite0", CLASSES)),
    "arseg": Case(tiny_arseg, _arseg_inputs, NonKey, _arseg_outputs),
    "arseg_gate": Case(lambda: tiny_arseg(mix="gate", init="identity"), _arseg_inputs, NonKey, _arseg_outputs),
    "tdnet_2": _tdnet(lambda: tiny_tdnet(CLASSES, 2)),
    "tdnet_4": _tdnet(lambda: tiny_tdnet(CLASSES, 4)),
    "td4_psp18": _tdnet(lambda: td4_psp18(CLASSES)),
    "td4_bise18": _tdnet(lambda: td4_bise18(CLASSES)),
    "td2_fa18": _tdnet(lambda: td2_fa18(CLASSES)),
}
DEPLOYED = {  # learn no more
    "rdrnet_deployed": _image(lambda: deployed_rdrnet(**TINY)),
    "gcnet_deployed": _image(lambda: deployed_gcnet(**TINY_GCNET)),
}


def trained(name: str) -> nn.Module:
    """A network in training mode whose batch norms have statistics of their own."""
    torch.manual_seed(0)
    net = CASES[name].build().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net
