"""torch.compile sees each network, and each method's step, as one graph: no break, on fake tensors of a GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from src.models.dff.net import DFF, Accel
from src.models.registry import NETWORKS
from src.models.video import FrameInput, VideoSegmenter
from tests.support.network_cases import CASES, DEPLOYED
from tests.support.tiny_arseg import Tiny

SIZE = (64, 96)
NETS = {**CASES, **DEPLOYED}
ON_MOTION: dict[str, Callable[[], Any]] = {
    "arseg": CASES["arseg"].build,
    "arseg_gate": CASES["arseg_gate"].build,
    "dff": lambda: DFF(Tiny),
    "accel": lambda: Accel(Tiny, Tiny),
}
NAMES = {"pspnet_camvid": "pspnet_full", "dfanet": "dfanet_a", "td2_psp50": "tdnet_2", "xception": "dfanet_b"}
DEVICES = ("cpu", "cuda")  # fake: operators that are CUDA's own must not break graphs either


class AllFrames(nn.Module):
    """A method's step as a function of tensors."""

    def __init__(self, net: VideoSegmenter) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, motion: Tensor | None, valid: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        return self.net.step(FrameInput(image, motion, valid), state)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget compiled code; garbage collected within a mode for fake tensors can crash torch."""
    torch._dynamo.reset()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    torch._dynamo.reset()


def one_graph(module: nn.Module, *inputs: Any) -> Any:
    """Run a module compiled as one graph; a break is an error."""
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph

    out = torch.compile(module, backend=backend, fullgraph=True)(*inputs)
    assert len(graphs) == 1
    return out


def test_every_network_is_compiled_here() -> None:
    own = {name for name, place in NETWORKS.items() if isinstance(place, str)}
    assert {NAMES.get(name, name) for name in own} <= {*NETS, *ON_MOTION}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETS if "arseg" not in name])
@torch.no_grad()
def test_a_network_is_one_graph(name: str) -> None:
    case = NETS[name]
    with FakeTensorMode(), torch.device("cuda"):
        net = case.build().eval()
        one_graph(case.run(net), *case.inputs(net, SIZE))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ON_MOTION)
@torch.no_grad()
def test_a_method_has_one_graph_for_keyframes_and_one_between(name: str, device: str) -> None:
    with FakeTensorMode(), torch.device(device):
        net = AllFrames(ON_MOTION[name]().eval())
        image, motion = torch.randn(1, 3, *SIZE), torch.randn(1, 2, *SIZE)
        _, state = one_graph(net, image, None, None, net.net.init_state())
        logits, _ = one_graph(net, image, motion, motion[:, 0] > 0, state)
    assert logits.shape[-2:] == SIZE


@pytest.mark.parametrize("name", ["arseg", "arseg_gate"])
def test_arseg_trains_in_one_graph(name: str) -> None:
    class Pair(nn.Module):
        def __init__(self, net: Any) -> None:
            super().__init__()
            self.net = net

        def forward(self, key: Tensor, image: Tensor, motion: Tensor, valid: Tensor) -> Tensor:
            out = self.net.forward_pair(key, image, motion, valid)
            loss: Tensor = out.logits.mean() + out.features.mean()
            return loss

    with FakeTensorMode(), torch.device("cuda"):
        net = CASES[name].build().train()
        image, motion = torch.randn(2, 3, *SIZE), torch.randn(2, 2, *SIZE)
        one_graph(Pair(net), image, image, motion, motion[:, 0] > 0)
