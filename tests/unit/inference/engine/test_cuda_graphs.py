"""Replayed frames give what the method gives, whatever their order; the capture itself needs a GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.inference.engine import cuda_graphs
from src.inference.engine.cuda_graphs import Labels, Replays, labeller
from src.models.video import FrameInput, SingleFrame, VideoSegmenter, state_tensors
from tests.support.tiny_arseg import Tiny, tiny_arseg
from tests.support.tiny_tdnet import tiny_tdnet

SIZE = 40, 56


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each recorded kind; a replay writes into the tensors of the recording, as a graph does."""
    records: list[None] = []

    def capture(run: Callable[[], Labels], device: torch.device) -> tuple[Callable[[], None], Labels]:
        records.append(None)
        labels, after = run()
        kept = [labels, *state_tensors(after)]

        def replay() -> None:
            again, state = run()
            for target, source in zip(kept, [again, *state_tensors(state)], strict=True):
                target.copy_(source)

        return replay, (labels, after)

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    return records


def frames(network: VideoSegmenter, gop: int, count: int) -> list[FrameInput]:
    found = []
    for number in range(count):
        image = torch.randn(1, 3, *SIZE)
        moves = network.uses_motion and number % gop > 0
        motion = (4 * torch.randn(1, 2, *SIZE), torch.rand(1, *SIZE) < 0.8) if moves else (None, None)
        found.append(FrameInput(image, *motion))
    return found


METHODS: dict[str, tuple[Callable[[], VideoSegmenter], int]] = {  # and the kinds of frames that recur
    "constant": (lambda: SingleFrame(Tiny(), 0.5), 1),
    "AR-Seg": (tiny_arseg, 3),  # the first keyframe follows no features
    "TDNet": (lambda: tiny_tdnet(5, 3), 3),
}


@pytest.mark.parametrize("name", METHODS)
@torch.inference_mode()
def test_replayed_frames_have_the_labels_of_the_method(name: str, recorded: list[None]) -> None:
    torch.manual_seed(0)
    make, kinds = METHODS[name]
    network = make().eval()
    replays, states = Replays(network.labels), [network.init_state()] * 2
    plain = list(states)
    streams = [frames(network, 4, 13) for _ in states]
    kept: list[tuple[Any, Any]] = []
    for together in zip(*streams, strict=True):  # two videos in turns share the graphs
        for n, frame in enumerate(together):
            expected, plain[n] = network.labels(frame, plain[n], SIZE)
            found, states[n] = replays(frame, states[n], SIZE)
            kept.append(((found, *state_tensors(states[n])), (expected, *state_tensors(plain[n]))))
    for found, expected in kept:  # those of early frames, too
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(recorded) >= kinds


@torch.inference_mode()
def test_features_of_a_keyframe_are_copied_once(recorded: list[None]) -> None:
    network = tiny_arseg().eval()
    replays, state = Replays(network.labels), network.init_state()
    for frame in frames(network, 5, 5):
        _, after = replays(frame, state, SIZE)
        assert frame.motion is None or after.features is state.features
        state = after


@torch.inference_mode()
def test_many_kinds_of_frames_keep_no_more_graphs(recorded: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST", 2)
    network = SingleFrame(Tiny()).eval()
    replays = Replays(network.labels)
    for width in (32, 36, 40, 32, 36, 40, 40):
        image = torch.randn(1, 3, 32, width)
        assert torch.equal(
            replays(FrameInput(image), None, (32, width))[0], network.labels(FrameInput(image), None, (32, width))[0]
        )
    assert len(recorded) == 2


def test_nothing_is_replayed_on_a_cpu() -> None:
    network = SingleFrame(Tiny())
    assert labeller(network, torch.device("cpu")) == network.labels
    assert isinstance(labeller(network, torch.device("cuda")), Replays)


def test_a_recording_is_made_and_replayed_on_the_device_of_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[int] = [0]

    class Device:
        def __init__(self, device: torch.device) -> None:
            self.index = device.index

        def __enter__(self) -> None:
            current.append(self.index)

        def __exit__(self, *_: object) -> None:
            current.pop()

    used: list[int] = []
    seen = lambda *_, **__: used.append(current[-1])  # noqa: E731
    graph = SimpleNamespace(replay=seen)
    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: SimpleNamespace(wait_stream=seen))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(wait_stream=seen))
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext(seen()))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: nullcontext(seen()))
    replay, _ = cuda_graphs.capture(lambda: (torch.zeros(1), None), torch.device("cuda:1"))
    replay()
    assert len(used) >= 5
    assert set(used) == {1}
    assert current == [0]
