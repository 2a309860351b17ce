"""TDNet: streaming against clips, propagation against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.models.pspnet.net import PSPNet
from src.models.tdnet.direct import DirectTDNet
from src.models.tdnet.net import TDNet
from src.models.tdnet.propagation import subsample, tokens
from src.models.tdnet.variants import td4_psp18
from src.models.video import FrameInput
from src.ops.resize import resize
from src.training.modules.tdnet_start import start_from_image_network
from tests.support.tiny_tdnet import TinyPath, tiny_tdnet

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


@torch.no_grad()
def test_direct_attention_reads_each_past_frame():
    """V' = V + sum phi(softmax(Q k / sqrt(d)) v), and clips give what streams give."""
    torch.manual_seed(0)
    net = DirectTDNet([TinyPath(CLASSES) for _ in range(3)], key_channels=8, subsampling=3).eval()
    frames = torch.randn(1, 7, 3, 40, 56)
    logits = stream(net, frames)
    for last in (2, 6):
        path = last % 3
        clip = net(frames[:, last - 2 : last + 1], path)
        torch.testing.assert_close(resize(clip.fused, (40, 56), align_corners=True), logits[last])
        features = net.paths[path].features(frames[:, last])
        query, value = tokens(net.encodings[path].query(features)), tokens(net.encodings[path].value(features))
        for past in (last - 2, last - 1):
            source = past % 3
            small = subsample(net.paths[source].features(frames[:, past]), 3)
            key, gathered = (tokens(f(small)) for f in (net.encodings[source].key, net.encodings[source].value))
            weights = torch.softmax(query @ key.mT / 8**0.5, -1)
            value = value + net.projections[f"{path}_{source}"].linear(weights @ gathered)
        expected = net.paths[path].classify(value.mT.reshape(1, 16, *features.shape[-2:]))
        torch.testing.assert_close(clip.fused, expected)


def test_three_paths_share_out_all_channels_and_start_from_one_network():
    net = td4_psp18(CLASSES, num_paths=3, groups=3)
    assert [path.slice for path in net.paths] == [slice(0, 170), slice(170, 341), slice(341, 512)]
    image = PSPNet(CLASSES, dilation="multigrid")
    start_from_image_network(net, image)
    pooled = torch.cat([path.pyramid.stages[0][1].weight for path in net.paths])
    assert torch.equal(pooled, image.pyramid.stages[0][1].weight)


def test_shared_paths_have_one_backbone():
    net = td4_psp18(CLASSES, shared=True)
    assert len({id(path.backbone) for path in net.paths}) == 1
    assert len({id(path.head) for path in net.paths}) == 4
