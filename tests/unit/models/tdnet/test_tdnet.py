"""TDNet: streaming against clips, propagation against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.models.tdnet.net import TDNet
from src.models.tdnet.propagation import subsample, tokens
from src.models.video import FrameInput
from src.ops.resize import resize
from tests.support.tiny_tdnet import tiny_tdnet

CLASSES = 5


@pytest.fixture(params=[2, 4])
def tiny(request) -> TDNet:
    torch.manual_seed(request.param)
    return tiny_tdnet(CLASSES, request.param).eval()


def stream(net: TDNet, frames: Tensor) -> list[Tensor]:
    """Logits of each of the frames (B, T, 3, H, W)."""
    state, logits = net.init_state(), []
    for frame in frames.unbind(1):
        result, state = net.step(FrameInput(frame), state)
        logits.append(result)
    return logits


@torch.no_grad()
def test_clip_gives_what_the_stream_gives(tiny):
    frames = torch.randn(2, 9, 3, 53, 75)
    logits = stream(tiny, frames)
    m = tiny.num_paths
    for last in range(m - 1, 9):
        clip = tiny(frames[:, last - m + 1 : last + 1], path=last % m)
        torch.testing.assert_close(resize(clip.fused, (53, 75), align_corners=True), logits[last])
        assert (clip.fused - clip.own).abs().max() > 0.1


@torch.no_grad()
def test_streams_of_a_batch_do_not_mix(tiny):
    frames = torch.randn(3, 5, 3, 40, 56)
    together = stream(tiny, frames)[-1]
    alone = torch.cat([stream(tiny, one[None])[-1] for one in frames])
    torch.testing.assert_close(together, alone)


@torch.no_grad()
def test_propagation_is_the_paper_s(tiny):
    """v'_p = phi(softmax(q_p k_(p-1) / sqrt(d)) v'_(p-1)) + v_p over one clip, written out per position."""
    m, path = tiny.num_paths, 1
    clip = torch.randn(1, m, 3, 48, 64)
    order = [(path + 1 + age) % m for age in range(m)]
    features = [tiny.paths[i].encode(clip[:, t])[0] for t, i in enumerate(order)]
    carried = None
    for age, (i, z) in enumerate(zip(order, features, strict=True)):
        encoding = tiny.encodings[i]
        small = z if age == m - 1 else subsample(z, tiny.subsampling)
        value = tokens(encoding.value(small))[0]
        if carried is not None:
            source = order[age - 1]
            key = tokens(tiny.encodings[source].key(subsample(features[age - 1], tiny.subsampling)))[0]
            phi = tiny.projections[f"{path}_{source}"].linear
            rows = []
            for q, own in zip(tokens(encoding.query(small))[0], value, strict=True):
                weights = torch.exp(key @ q / 8**0.5)
                rows.append(phi((weights / weights.sum()) @ carried) + own)
            value = torch.stack(rows)
        carried = value
    expected = tiny.paths[path].classify(carried.T.reshape(1, 16, 6, 8))
    torch.testing.assert_close(tiny(clip, path).fused, expected)


@torch.no_grad()
def test_first_frames_are_those_of_their_path_alone(tiny):
    frames = torch.randn(1, tiny.num_paths, 3, 40, 56)
    for t, logits in enumerate(stream(tiny, frames)[:-1]):
        value = tiny.encodings[t].value(tiny.paths[t].encode(frames[:, t])[0])
        own = resize(tiny.paths[t].classify(value), (40, 56), align_corners=True)
        torch.testing.assert_close(logits, own)
        assert torch.equal(logits, tiny.alone(frames[:, t], t))


@torch.no_grad()
def test_state_is_a_value(tiny):
    frames = torch.randn(1, 6, 3, 40, 56)
    state = tiny.init_state()
    for frame in frames.unbind(1):
        before = state
        first, state = tiny.step(FrameInput(frame), before)
        again, _ = tiny.step(FrameInput(frame), before)
        assert torch.equal(first, again)
    assert (len(state.values), len(state.maps)) == (tiny.num_paths - 1, tiny.num_paths - 2)


def test_wrong_input_is_named(tiny):
    _, state = tiny.step(FrameInput(torch.randn(1, 3, 40, 56)), tiny.init_state())
    with pytest.raises(UserError, match="begin with init_state"):
        tiny.step(FrameInput(torch.randn(1, 3, 80, 56)), state)
    with pytest.raises(UserError, match="set the clip length to"):
        tiny(torch.randn(1, 3, 3, 40, 56), path=0)
