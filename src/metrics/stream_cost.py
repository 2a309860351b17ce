"""Cost of networks whose frames depend on the frames before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from src.metrics.cost import count_parameters, frame_cost
from src.models.arseg.net import ARSeg
from src.models.tdnet.net import TDNet


@dataclass(frozen=True)
class InferenceCost:
    """What a network costs per frame.

    Attributes:
        params_inference: parameters of the modules that run; shared ones count once.
        gmacs_key: of a frame without past: AR-Seg's keyframe, TDNet's first frame, any frame of other networks.
        gmacs_nonkey: of a frame with a past, in TDNet once all paths have contributed; None where no frame has one.
        gmacs_amortised: mean of a long film.
        gop: frames from one frame without past to the next; None where only the first frame of a film is one.
    """

    params_inference: int
    gmacs_key: float
    gmacs_nonkey: float | None
    gmacs_amortised: float
    gop: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain Python form."""
        return asdict(self)


class Stream(nn.Module):
    """A network with `step` as one that takes a picture: it sees the picture `frames` times in a row."""

    def __init__(self, net: TDNet, frames: int) -> None:
        super().__init__()
        self.net, self.frames = net, frames

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) of the last time."""
        logits, state = self.net.step(image, self.net.init_state())
        for _ in range(self.frames - 1):
            logits, state = self.net.step(image, state)
        return logits


def inference_cost(net: nn.Module, size: tuple[int, int], gop: int, scale: float = 1.0) -> InferenceCost:
    """Cost of any of our networks on pictures of `size` = (height, width).

    Args:
        net: in the form that is run.
        size: of the pictures.
        gop: frames from keyframe to keyframe of AR-Seg.
        scale: by which single-frame networks see pictures shrunk.
    """
    if isinstance(net, TDNet):
        return _tdnet_cost(net, size)
    parameters = count_parameters(net)[1]
    if isinstance(net, ARSeg):
        cost = frame_cost(net, size, gop)
        return InferenceCost(parameters, cost.key, cost.nonkey, cost.amortised, gop)
    gmacs = frame_cost(net, size, 1, scale).key
    return InferenceCost(parameters, gmacs, None, gmacs, 1)


def _tdnet_cost(net: TDNet, size: tuple[int, int]) -> InferenceCost:
    """One turn through all paths with full history counts as the mean of a long film."""
    history, turn = net.num_paths - 1, net.num_paths
    first, before, after = (frame_cost(Stream(net, n), size).key for n in (1, history, history + turn))
    steady = (after - before) / turn
    return InferenceCost(count_parameters(Stream(net, history + turn))[1], first, steady, steady, None)
