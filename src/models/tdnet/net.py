"""TDNet (Hu et al., CVPR 2020): a deep network's features shared out over consecutive frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn

from src.errors import UserError
from src.models.base import CoarseLogits
from src.models.tdnet.paths import SubNetwork
from src.models.tdnet.propagation import (
    AttentionEncoding,
    AttentionProjection,
    TDNetState,
    attention_map,
    subsample,
    tokens,
)
from src.models.video import FrameCycle, FrameInput, VideoSegmenter
from src.ops.resize import size_of


class ClipOutput(NamedTuple):
    """Logits of a clip's last frame at feature resolution, (B, K, h, w).

    Attributes:
        fused: with what was propagated from the frames before, the network's result.
        own: of the current path alone.
        auxiliary: of the current path's training-only heads, by name; empty in eval.
    """

    fused: Tensor
    own: Tensor
    auxiliary: dict[str, Tensor]


class TDNet(VideoSegmenter):
    """m paths that take turns, one per frame, joined by attention propagation.

    Frame t runs path t mod m. While fewer than m - 1 frames lie before it, its result is that of its path
    alone, as in the official code.

    Args:
        paths: the m sub-networks; none of their parameters are shared.
        key_channels: of queries and keys.
        subsampling: n of the paper, the stride between positions kept of past frames. One value for training
            and inference (the official code trains with 3 and tests with 4); no weight depends on it.
        dropout: of the propagation, in training.

    Raises:
        UserError: fewer than two paths.
    """

    method = "TDNet"

    def __init__(
        self, paths: Sequence[SubNetwork], key_channels: int = 64, subsampling: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if len(paths) < 2:
            raise UserError(f"network.num_paths={len(paths)}: paths propagate to each other; give 2 or more")
        self.subsampling, self.num_paths, self.num_classes = subsampling, len(paths), paths[0].num_classes
        self.paths = nn.ModuleList(paths)
        self.encodings = nn.ModuleList(AttentionEncoding(p.channels, key_channels, p.value_channels) for p in paths)
        # "reader_source": which path gathers from which
        pairs = [(i, j) for i in range(len(paths)) for j in range(len(paths)) if i != j]
        channels = paths[0].value_channels
        self.projections = nn.ModuleDict({f"{i}_{j}": AttentionProjection(channels, dropout) for i, j in pairs})

    def init_state(self) -> TDNetState:
        """The state before the first frame of any number of streams of any size."""
        return TDNetState(path=0, key=None, values=(), maps=())

    def step(self, frame: FrameInput, state: TDNetState) -> tuple[Tensor, TDNetState]:
        """Logits (B, K, H, W) of the next frame of B streams, and the state after it; motion is not used.

        Raises:
            UserError: the state is of another number of streams or another image size.
        """
        coarse, state = self.coarse(frame, state)
        return coarse.resized(size_of(frame.image)), state

    def coarse(self, frame: FrameInput, state: TDNetState) -> tuple[CoarseLogits, TDNetState]:
        """Logits of `step` at the resolution of the classifier, and the state after the frame."""
        image = frame.image
        path, encoding = self._parts(state.path)
        features = path.features(image)
        query, value = encoding.query(features), encoding.value(features)
        small_query, small_value = (tokens(subsample(x, self.subsampling)) for x in (query, value))
        _check_state(state, small_value)
        if len(state.values) == self.num_paths - 1:
            value = value + self._recall(query, state)
        logits = path.classify(value)
        key = tokens(encoding.key(subsample(features, self.subsampling)))
        return CoarseLogits(logits, align_corners=True), self._remember(state, small_query, key, small_value)

    def advance(self, frame: FrameInput, state: TDNetState) -> TDNetState:
        """State after a frame whose own logits are not computed."""
        return self._observe(frame.image, state)

    def cycle(self, gop: int) -> FrameCycle:
        """A frame without a past, those with a part of it, and one turn of all paths."""
        turn = self.num_paths
        return FrameCycle(("key", *("start",) * (turn - 2), *("nonkey",) * turn), ("nonkey",))

    def comparisons(self) -> list[VideoSegmenter]:
        """The paths in turn, each by itself: the difference to it is due to propagation."""
        return [OwnPath(self)]

    def alone(self, image: Tensor, path: int) -> Tensor:
        """Logits (B, K, H, W) of images (B, 3, H, W) by path number `path`, without anything propagated."""
        return self.step(FrameInput(image), self.init_state()._replace(path=path))[0]

    def forward(self, clip: Tensor, path: int) -> ClipOutput:
        """Logits of the last of m frames (B, m, 3, H, W), which runs path number `path`, for training.

        With frames that followed each other, `fused` is what `step` gives for the last one before its resize
        to image size.

        Raises:
            UserError: the clip does not have m frames.
        """
        if clip.shape[1] != self.num_paths:
            raise UserError(
                f"a clip of {clip.shape[1]} frames does not suit TDNet with {self.num_paths} paths; "
                f"set the clip length to {self.num_paths}"
            )
        state = self.init_state()._replace(path=(path + 1) % self.num_paths)
        *past, image = clip.unbind(1)
        for frame in past:
            state = self._observe(frame, state)
        current, encoding = self._parts(path)
        features, taps = current.encode(image)
        value = encoding.value(features)
        recalled = self._recall(encoding.query(features), state)
        auxiliary = current.auxiliary(taps) if self.training else {}
        return ClipOutput(current.classify(value + recalled), current.classify(value), auxiliary)

    def _parts(self, path: int) -> tuple[SubNetwork, AttentionEncoding]:
        return cast(SubNetwork, self.paths[path]), cast(AttentionEncoding, self.encodings[path])

    def _observe(self, image: Tensor, state: TDNetState) -> TDNetState:
        """The state after a frame whose own result nobody asks for."""
        path, encoding = self._parts(state.path)
        features = subsample(path.features(image), self.subsampling)
        query, key, value = (tokens(f(features)) for f in (encoding.query, encoding.key, encoding.value))
        return self._remember(state, query, key, value)

    def _remember(self, state: TDNetState, query: Tensor, key: Tensor, value: Tensor) -> TDNetState:
        """The state with the subsampled query, key and value of one frame more."""
        keep = self.num_paths - 1
        maps = state.maps
        if state.key is not None and keep > 1:  # two paths never gather between past frames
            maps = (*maps, attention_map(query, state.key))
        return TDNetState(
            path=(state.path + 1) % self.num_paths,
            key=key,
            values=(*state.values, value)[-keep:],
            maps=maps[max(len(maps) - keep + 1, 0) :],
        )

    def _recall(self, query: Tensor, state: TDNetState) -> Tensor:
        """Gather values (B, value channels, h, w) from the past by the current frame's query (B, C, h, w).

        Values travel from the oldest frame to the newest; the last step's queries are of full resolution, so
        that nothing is upsampled.
        """
        assert state.key is not None
        reader = state.path
        sources = [(reader + 1 + age) % self.num_paths for age in range(self.num_paths - 1)]
        value = state.values[0]
        for source, attention, own in zip(sources, state.maps, state.values[1:], strict=False):
            value = own + self.projections[f"{reader}_{source}"](attention, value)
        attention = attention_map(tokens(query), state.key)
        gathered: Tensor = self.projections[f"{reader}_{sources[-1]}"](attention, value)
        return gathered.transpose(1, 2).reshape(query.shape[0], -1, *query.shape[-2:])


class OwnPath(VideoSegmenter):
    """TDNet's paths in turn, each by itself: the ablation without attention propagation.

    The state is the number of the next path.

    Args:
        net: whose paths are used.
    """

    method = "own path"

    def __init__(self, net: TDNet) -> None:
        super().__init__()
        self.net, self.num_classes = net, net.num_classes

    def init_state(self) -> int:
        """The first path."""
        return 0

    def step(self, frame: FrameInput, state: int) -> tuple[Tensor, int]:
        """Logits of the path that TDNet runs on the same frame."""
        return self.net.alone(frame.image, state), self.advance(frame, state)

    def advance(self, frame: FrameInput, state: int) -> int:
        """The path after this one."""
        return (state + 1) % self.net.num_paths

    def cycle(self, gop: int) -> FrameCycle:
        """One turn of the paths."""
        return FrameCycle(("key",) * self.net.num_paths, ("key",))


def _check_state(state: TDNetState, value: Tensor) -> None:
    if state.key is not None and state.values[-1].shape != value.shape:
        had, has = tuple(state.values[-1].shape[:2]), tuple(value.shape[:2])
        raise UserError(
            f"TDNet's state is of {had[0]} streams with {had[1]} positions each, the frame of {has[0]} with "
            f"{has[1]}; begin with init_state() where a stream, or its size, changes"
        )
