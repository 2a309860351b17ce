"""TDNet: streaming against clips, propagation against its definition, cost against the official code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.errors import UserError
from src.models.base import resize
from src.models.tdnet import variants
from src.models.tdnet.net import TDNet
from src.models.tdnet.propagation import subsample, tokens
from tests.models.tdnet.tiny import tiny_tdnet

CLASSES = 5

# parameters of the official code without unused ImageNet classifiers and training-only heads, and those
# of them whose outputs the official code throws away, which ours does not have
PARAMETERS = {
    "td4_psp18": (52_778_068, 4 * 131_584),
    "td2_psp50": (61_270_570, 2 * 2_099_200),
    "td4_bise18": (52_387_584 - 4 * 150_144, 4 * 64 * 128),
    "td2_fa18": (28_210_048 - 2 * 75_072, 2 * (590_080 + 147_712 + 2_112)),
}
# of the official code: billions of multiply-adds of a frame in steady state
GMACS = [
    ("td4_psp18", (1024, 2048), 468.08),
    ("td4_psp18", (769, 1537), 257.45),
    ("td4_psp18", (720, 960), 144.80),
    ("td2_psp50", (1024, 2048), 981.60),
    ("td2_psp50", (720, 960), 315.13),
    ("td2_fa18", (1024, 2048), 90.91),
    ("td2_fa18", (768, 1536), 41.41),
    ("td4_bise18", (1024, 2048), 108.22),
    ("td4_bise18", (720, 960), 33.73),
]


@pytest.fixture(params=[2, 4])
def tiny(request) -> TDNet:
    torch.manual_seed(request.param)
    return tiny_tdnet(CLASSES, request.param).eval()


def stream(net: TDNet, frames: Tensor) -> list[Tensor]:
    """Logits of each of the frames (B, T, 3, H, W)."""
    state, logits = net.init_state(), []
    for frame in frames.unbind(1):
        result, state = net.step(frame, state)
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
        first, state = tiny.step(frame, before)
        again, _ = tiny.step(frame, before)
        assert torch.equal(first, again)
    assert (len(state.values), len(state.maps)) == (tiny.num_paths - 1, tiny.num_paths - 2)


def test_wrong_input_is_named(tiny):
    _, state = tiny.step(torch.randn(1, 3, 40, 56), tiny.init_state())
    with pytest.raises(UserError, match="begin with init_state"):
        tiny.step(torch.randn(1, 3, 80, 56), state)
    with pytest.raises(UserError, match="set the clip length to"):
        tiny(torch.randn(1, 3, 3, 40, 56), path=0)


def test_state_dict_round_trip_and_export(tiny):
    other = tiny_tdnet(CLASSES, tiny.num_paths).eval()
    other.load_state_dict(tiny.state_dict())
    frames, state = torch.randn(1, 6, 3, 40, 56), other.init_state()
    with torch.no_grad():
        for frame in frames[:, :-1].unbind(1):
            _, state = other.step(frame, state)
        expected, after = tiny.step(frames[:, -1], state)
        exported = torch.export.export(Step(tiny), (frames[:, -1], state)).module()
        logits, exported_after = exported(frames[:, -1], state)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(exported_after.maps, after.maps)
    assert exported_after.path == after.path


class Step(nn.Module):
    """`TDNet.step` as a module, which is what torch.export takes."""

    def __init__(self, net: TDNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image, state):
        return self.net.step(image, state)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_learns_and_sizes_may_be_odd(name):
    torch.manual_seed(0)
    net = getattr(variants, name)(CLASSES).train()
    for path in range(net.num_paths):
        output = net(torch.randn(2, net.num_paths, 3, 41, 67), path)
        assert output.fused.shape == output.own.shape == (2, CLASSES, 6, 9)
        heads = [output.fused, output.own, *output.auxiliary.values()]
        torch.stack([x.square().mean() for x in heads]).sum().backward()
    assert [k for k, p in net.named_parameters() if p.grad is None] == []
    assert [k for k, p in net.named_parameters() if k.endswith("weight") and not p.grad.any()] == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_official_ones_but_those_without_use(name):
    official, unused = PARAMETERS[name]
    with torch.device("meta"):
        net = getattr(variants, name)(19)
    counts = [p.numel() for k, p in net.named_parameters() if ".aux." not in k]
    assert sum(counts) == official - unused


@pytest.mark.parametrize(("name", "size", "official"), GMACS)
@torch.no_grad()
def test_cost_is_the_official_one(name, size, official):
    with torch.device("meta"):
        net, image = getattr(variants, name)(19).eval(), torch.empty(1, 3, *size)
        state = net.init_state()
        for _ in range(net.num_paths):
            with FlopCounterMode(display=False) as counter:
                _, state = net.step(image, state)
    gmacs = counter.get_total_flops() / 2e9
    assert gmacs == pytest.approx(official, rel=0.005)
