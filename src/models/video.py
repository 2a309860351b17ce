"""The contract of every method that segments a video frame by frame, and single-frame networks under it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from src.errors import UserError, check_range
from src.models.base import CoarseLogits, Segmenter
from src.ops.resize import downscale, labels_of, size_of


class FrameInput(NamedTuple):
    """The next frame of B streams.

    Attributes:
        image: (B, 3, H, W) float, normalised RGB.
        motion: (B, 2, H, W) in pixels, (x, y), x_key = x + motion(x); None for a keyframe.
        motion_valid: (B, H, W) bool, false where a pixel has no vector; None means all valid.
        warp_only: no network looks at the image: what is known of the keyframe is moved to it. Only for methods that
            have `can_warp`, and with motion.
    """

    image: Tensor
    motion: Tensor | None = None
    motion_valid: Tensor | None = None
    warp_only: bool = False


class FrameCycle(NamedTuple):
    """The frames that a long video consists of, as far as their cost goes.

    Attributes:
        kinds: of the frames from the first one on: "key" without motion and without a past, "start" while a part of
            the past is missing, "nonkey" otherwise.
        repeated: the kinds that a long video repeats.
    """

    kinds: tuple[str, ...]
    repeated: tuple[str, ...]

    @property
    def is_constant(self) -> bool:
        """Whether each frame is segmented by itself."""
        return set(self.kinds) == {"key"}


class VideoSegmenter(nn.Module, ABC):
    """A method that segments videos frame by frame; its state is a value, so that one network serves many streams.

    A state is a NamedTuple of tensors with the streams as first dimension, and of plain numbers; it is passed in
    and handed back, never kept in the module.

    Attributes:
        method: its name in tables.
        scale: of the images that its network sees on most frames; 0 where none runs on them.
        num_classes: K.
        uses_motion: whether frames between keyframes need their motion.
        can_warp: whether frames may be `warp_only`.
        can_rescale: whether the frames between keyframes may be seen at another resolution.
    """

    method: str
    scale: float = 1.0
    num_classes: int
    uses_motion: bool = False
    can_warp: bool = False
    can_rescale: bool = False

    @property
    def joins_bfloat16(self) -> bool:
        """Whether the method takes features in bfloat16, though its own weights are float32."""
        return False

    @abstractmethod
    def init_state(self) -> Any:
        """State before the first frame of any number of streams of any size."""

    @abstractmethod
    def step(self, frame: FrameInput, state: Any) -> tuple[Tensor, Any]:
        """Logits (B, K, H, W) of the next frame at the size of its image, and the state after it.

        Raises:
            UserError: the state does not suit the frame.
        """

    def coarse(self, frame: FrameInput, state: Any) -> tuple[CoarseLogits, Any]:
        """Logits that the resize to the size of the image makes those of `step`, and the state after the frame.

        By default those of `step` themselves. Methods whose last operation is that resize override it, so that labels
        need no logits at image size.
        """
        logits, state = self.step(frame, state)
        return CoarseLogits(logits), state

    def labels(self, frame: FrameInput, state: Any, size: tuple[int, int]) -> tuple[Tensor, Any]:
        """Classes (B, *size) uint8 of the highest logits of the next frame, and the state after it.

        Logits are resized from the image's size to another one.
        """
        coarse, state = self.coarse(frame, state)
        if size_of(frame.image) == size:
            return coarse.labels(size), state
        return labels_of(coarse.resized(size_of(frame.image)), size), state

    def advance(self, frame: FrameInput, state: Any) -> Any:
        """State after a frame whose logits are not needed; methods override it where that costs less than `step`."""
        return self.step(frame, state)[1]

    def cycle(self, gop: int) -> FrameCycle:
        """Kinds of the frames of a video with keyframes every `gop` frames."""
        return FrameCycle(("key",), ("key",))

    def rescaled(self, scale: float) -> VideoSegmenter:
        """Return the method on the same weights, with `scale` in (0, 1] in place of its own.

        Raises:
            UserError: the scale is out of range, or the method has none to choose.
        """
        if not self.can_rescale:
            raise UserError(
                f"lr_scale={scale} is for methods with a low-resolution branch, such as AR-Seg, not for "
                f"'{self.method}'; leave lr_scale out"
            )
        valid = isinstance(scale, int | float) and not isinstance(scale, bool) and 0 < scale <= 1
        check_range(valid, "lr_scale", scale, "a number above 0, up to 1")
        other = copy.copy(self)
        other.scale = float(scale)
        return other

    def comparisons(self) -> list[VideoSegmenter]:
        """Other ways to run the same weights, which a table shows beside the method."""
        return []


class SingleFrame(VideoSegmenter):
    """A Segmenter on each frame by itself, at a constant resolution.

    Args:
        net: the network.
        scale: of the images that it sees, in (0, 1]; its logits are enlarged to the size of the frame.

    Raises:
        UserError: the scale is out of range.
    """

    method = "constant"

    def __init__(self, net: Segmenter, scale: float = 1.0) -> None:
        super().__init__()
        check_range(0 < scale <= 1, "lr_scale", scale, "a number above 0, up to 1")
        self.net, self.scale, self.num_classes = net, scale, net.num_classes

    @property
    def joins_bfloat16(self) -> bool:
        """True: nothing lies between features and classifier."""
        return True

    def init_state(self) -> None:
        """None: frames have no past."""

    def step(self, frame: FrameInput, state: None) -> tuple[Tensor, None]:
        """Logits of the frame, and no state."""
        return self.coarse(frame, state)[0].resized(size_of(frame.image)), None

    def coarse(self, frame: FrameInput, state: None) -> tuple[CoarseLogits, None]:
        """Logits of the frame: at the size of the shrunk image where there is one, for they are resized twice."""
        if self.scale == 1:
            return self.net.coarse(frame.image), None
        return CoarseLogits(self.net(downscale(frame.image, self.scale))), None

    def advance(self, frame: FrameInput, state: None) -> None:
        """Nothing to remember."""


def as_video_segmenter(net: nn.Module, scale: float = 1.0) -> VideoSegmenter:
    """The network itself if it is a video method; a Segmenter on each frame, shrunk by `scale`.

    Raises:
        UserError: a network that labels no pixels.
    """
    if isinstance(net, VideoSegmenter):
        return net
    if isinstance(net, Segmenter):
        return SingleFrame(net, scale)
    raise UserError(f"a {type(net).__name__} labels no pixels; give a segmentation network or a video method")


def state_layout(state: Any) -> Hashable:
    """Describe a state such that those of equal layout can be stacked: types, shapes and plain numbers."""
    if isinstance(state, Tensor):
        return state.shape[1:], state.dtype, state.device
    return (type(state), *map(state_layout, state)) if isinstance(state, tuple) else state


def state_tensors(state: Any) -> list[Tensor]:
    """List the tensors of a state, or of a FrameInput, in their order."""
    if isinstance(state, Tensor):
        return [state]
    return [x for part in state for x in state_tensors(part)] if isinstance(state, tuple) else []


def map_state(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """Make a state with each tensor changed."""
    if isinstance(state, Tensor):
        return change(state)
    return _like(state, (map_state(change, part) for part in state)) if isinstance(state, tuple) else state


def stack_states(states: Sequence[Any]) -> Any:
    """Make one state of those of several streams, which have one layout, in their order."""
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(list(states))
    return _like(first, map(stack_states, zip(*states, strict=True))) if isinstance(first, tuple) else first


def split_state(state: Any, count: int) -> list[Any]:
    """Undo `stack_states` for `count` states of one stream each."""
    if isinstance(state, Tensor):
        return [state[n : n + 1] for n in range(count)]
    if not isinstance(state, tuple):
        return [state] * count
    parts = [split_state(part, count) for part in state]
    return [_like(state, (part[n] for part in parts)) for n in range(count)]


def _like(state: tuple[Any, ...], items: Iterable[Any]) -> Any:
    return type(state)(*items) if hasattr(state, "_fields") else tuple(items)


def run_cycle(net: VideoSegmenter, image: Tensor, gop: int = 2) -> list[Tensor]:
    """Logits of all frames of one cycle, each the same image (B, 3, H, W) at rest.

    Runs every module that inference uses.
    """
    state, found = net.init_state(), []
    for kind in net.cycle(gop).kinds:
        motion = torch.zeros_like(image[:, :2]) if net.uses_motion and kind != "key" else None
        logits, state = net.step(FrameInput(image, motion), state)
        found.append(logits)
    return found
