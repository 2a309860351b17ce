"""Replay the frames of a method as CUDA graphs: one launch in place of the hundreds of small kernels of a frame."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from src.models.video import FrameInput, VideoSegmenter, map_state, state_layout, state_tensors

MOST = 16  # kinds of frames that have a graph; each keeps its activations

Labels = tuple[Tensor, Any]  # of a frame, and the state after it
Labeller = Callable[[FrameInput, Any, tuple[int, int]], Labels]


def labeller(network: VideoSegmenter, device: torch.device) -> Labeller:
    """Return `network.labels`, or on a CUDA device what replays it; to be called in inference mode."""
    return Replays(network.labels) if device.type == "cuda" else network.labels


class Replays:
    """Labels of frames, from graphs of what they run.

    Kinds of frames differ in shape, in what a frame or a state holds, and in the state's plain numbers. The first frame
    of a kind runs as it is, the second is recorded, the others are replayed; kinds after the first `MOST` are never
    recorded. Results and states are the caller's own tensors: no later frame changes them.

    Args:
        labels: changes nothing but its results, and does not wait for the device.
    """

    def __init__(self, labels: Labeller) -> None:
        self._labels = labels
        self._graphs: dict[Hashable, _Graph | None] = {}

    def __call__(self, frame: FrameInput, state: Any, size: tuple[int, int]) -> Labels:
        """As of `VideoSegmenter.labels`."""
        kind = (state_layout(frame), tuple(x.stride() for x in state_tensors(frame)), state_layout(state), size)
        if kind not in self._graphs:
            if len(self._graphs) < MOST:
                self._graphs[kind] = None
            return self._labels(frame, state, size)
        graph = self._graphs[kind]
        if graph is None:
            graph = self._graphs[kind] = _record(self._labels, frame, state, size)
        return graph.run(frame, state)


@dataclass
class _Graph:
    frame: list[Tensor]  # that the graph reads
    state: list[Tensor]
    labels: Tensor
    after: Any
    replay: Callable[[], None]
    held: list[Tensor] | None = None  # what was last copied into `state`

    def run(self, frame: FrameInput, state: Any) -> Labels:
        for target, source in zip(self.frame, state_tensors(frame), strict=True):
            target.copy_(source, non_blocking=True)
        given = state_tensors(state)
        for n, (target, source) in enumerate(zip(self.state, given, strict=True)):
            if self.held is None or self.held[n] is not source:  # a keyframe's features come with each frame after it
                target.copy_(source, non_blocking=True)
        self.held = given
        self.replay()
        unchanged = {id(target): source for target, source in zip(self.state, given, strict=True)}
        return self.labels.clone(), map_state(
            lambda x: unchanged[id(x)] if id(x) in unchanged else x.clone(), self.after
        )


def _record(labels: Labeller, frame: FrameInput, state: Any, size: tuple[int, int]) -> _Graph:
    frame, state = (map_state(torch.clone, x) for x in (frame, state))
    replay, (found, after) = capture(lambda: labels(frame, state, size), frame.image.device)
    return _Graph(state_tensors(frame), state_tensors(state), found, after, replay)


def capture(run: Callable[[], Labels], device: torch.device) -> tuple[Callable[[], None], Labels]:
    """Record what a function launches on a CUDA device; return what replays it, and its results.

    Without it as the current device the streams would be those of another one, and the recording empty.

    Each replay writes the results of the function's inputs as they then are into the same tensors.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            run()  # allocates workspaces outside the graph
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = run()

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay, results
