"""Multiply-adds and parameters of inference, counted on the graph that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode  # torch.export's own shapes-only mode has no public name
from torch.utils.flop_counter import FlopCounterMode

from src.models.video import FrameInput, VideoSegmenter


@dataclass(frozen=True)
class InferenceCost:
    """Cost of a method per frame; one multiply-add = 1.

    Attributes:
        params_inference: parameters of the modules that run; shared ones count once.
        gmacs_key: of a frame without past: AR-Seg's keyframe, TDNet's first frame, any frame of other networks.
        gmacs_nonkey: mean of the frames with a complete past; None where no frame has one.
        gmacs_amortised: mean of a long video.
        gop: frames from one frame without past to the next; None where only the first frame of a video is one.
        state_mb: 10^6 bytes that one stream keeps between frames, in float32.
    """

    params_inference: int
    gmacs_key: float
    gmacs_nonkey: float | None
    gmacs_amortised: float
    gop: int | None
    state_mb: float

    def as_dict(self) -> dict[str, Any]:
        """Plain Python form."""
        return asdict(self)


def inference_cost(net: VideoSegmenter, size: tuple[int, int], gop: int) -> InferenceCost:
    """Count one cycle of a method on images of `size` = (height, width), without computing anything.

    Args:
        net: in the form that is run, on any device, "meta" too; its mode is kept.
        size: of the images.
        gop: frames from keyframe to keyframe.
    """
    kinds, repeated = net.cycle(gop)
    with _inference(net), _used_parameters(net) as used:
        counts, state = _macs_of_frames(net, kinds, size)
    by_kind = {kind: [n for k, n in zip(kinds, counts, strict=True) if k == kind] for kind in ("key", "nonkey")}
    lasting = [n for k, n in zip(kinds, counts, strict=True) if k in repeated]
    return InferenceCost(
        sum(used.values()),
        by_kind["key"][0] / 1e9,
        _mean(by_kind["nonkey"]),
        sum(lasting) / len(lasting) / 1e9,
        None if "key" not in repeated else len(kinds) if by_kind["nonkey"] else 1,
        4 * sum(tensor.numel() for tensor in _tensors(state)) / 1e6,
    )


def frame_costs(net: VideoSegmenter, size: tuple[int, int]) -> dict[str, float]:
    """Count the multiply-adds of each kind of frame, in 10^9, without computing anything.

    Args:
        net: as of `inference_cost`; it has `can_warp`.
        size: (height, width) of the images.

    Returns:
        Those of "key", "nonkey" and "warp".
    """
    kinds = ("key", "nonkey", "warp")
    with _inference(net):
        counts, _ = _macs_of_frames(net, kinds, size)
    return {kind: count / 1e9 for kind, count in zip(kinds, counts, strict=True)}


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in _tensors(part)] if isinstance(state, (tuple, list)) else []


def _mean(counts: list[int]) -> float | None:
    return sum(counts) / len(counts) / 1e9 if counts else None


def _macs_of_frames(net: VideoSegmenter, kinds: tuple[str, ...], size: tuple[int, int]) -> tuple[list[int], Any]:
    """Count multiply-adds of each frame, and return the last state too.

    Frames of one kind that meet states of equal shape are counted once.
    """
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    known: dict[Any, tuple[int, Any]] = {}
    counts = []
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        image = torch.empty(1, 3, *size, device=device)
        state = net.init_state()
        for kind in kinds:
            signature = kind, _shapes(state)
            if signature not in known:
                motion = image[:, :2] if net.uses_motion and kind != "key" else None
                frame = FrameInput(image, motion, warp_only=kind == "warp")
                count, (_, after) = _counted(partial(net.step, frame, state))
                known[signature] = count, after
            count, state = known[signature]
            counts.append(count)
    return counts, state


def _counted(function: Callable[[], Any]) -> tuple[int, Any]:
    with FlopCounterMode(display=False) as counter:
        result = function()
    return int(counter.get_total_flops()) // 2, result


def _shapes(state: Any) -> Any:
    if isinstance(state, Tensor):
        return tuple(state.shape)
    return tuple(map(_shapes, state)) if isinstance(state, (tuple, list)) else state


@contextmanager
def _used_parameters(net: nn.Module) -> Iterator[dict[int, int]]:
    """Sizes of the parameters, by identity, of modules that are called meanwhile, and of the network itself."""
    used = {id(p): p.numel() for p in net.parameters(recurse=False)}

    def note(module: nn.Module, _: object) -> None:
        used.update({id(p): p.numel() for p in module.parameters(recurse=False)})

    hooks = [module.register_forward_pre_hook(note) for module in net.modules()]
    try:
        yield used
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _inference(net: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every module gets its own mode back."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
