"""ARSeg: step form, training form, sharing, freezing, export."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from src.errors import UserError
from src.models.arseg.net import WarpOnly
from src.models.video import FrameInput
from src.ops.resize import downscale
from tests.support.tiny_arseg import Tiny, pair, tiny_arseg

FORMS = [{}, {"mix": "gate", "init": "identity"}]


@pytest.mark.parametrize("fusion", FORMS)
@torch.no_grad()
def test_training_form_equals_step_form(fusion):
    net = tiny_arseg(**fusion).eval()
    key, current, motion, valid = pair()
    trained = net.forward_pair(key, current, motion, valid)
    first, state = net.step(FrameInput(key), net.init_state())
    logits, after = net.step(FrameInput(current, motion, valid), state)
    torch.testing.assert_close(trained.logits, logits)
    assert after.features is state.features
    output, features = net.key(key)
    assert torch.equal(first, output)
    torch.testing.assert_close(net.nonkey(downscale(current, 0.5), features, motion, valid), logits)
    assert logits.shape == (2, 5, 36, 52)


@torch.no_grad()
def test_state_is_a_value_so_films_do_not_mix():
    net = tiny_arseg().eval()
    key, current, motion, valid = pair()
    one = FrameInput(current[:1], motion[:1], valid[:1])
    alone = net.step(one, net.step(FrameInput(key[:1]), net.init_state())[1])[0]
    first, second = (net.step(FrameInput(k), net.init_state())[1] for k in (key[:1], key[1:]))
    net.step(FrameInput(current[1:], motion[1:], valid[1:]), second)
    assert torch.equal(net.step(one, first)[0], alone)


@torch.no_grad()
def test_without_fusion_the_low_branch_is_alone():
    net = tiny_arseg().eval()
    key, current, motion, valid = pair()
    out = net.forward_pair(key, current, motion, valid, fuse=False)
    expected = F.interpolate(net.low.features(downscale(current, 0.5)), (9, 13), mode="bilinear")
    torch.testing.assert_close(out.features, expected)
    torch.testing.assert_close(out.low_logits, out.logits)
    torch.testing.assert_close(out.target, net.high.features(current))
    assert out.auxiliary["aux"].shape == (2, 5, 5, 7)


@torch.no_grad()
def test_unreachable_keyframe_leaves_the_low_branch():
    net = tiny_arseg(mix="gate", init="identity").eval()
    key, current, motion, valid = pair()
    out = net.forward_pair(key, current, motion, torch.zeros_like(valid))
    torch.testing.assert_close(out.logits, out.low_logits)


@torch.no_grad()
def test_warp_only_of_a_still_picture_is_the_keyframe():
    net = WarpOnly(tiny_arseg()).eval()
    key, *_ = pair(height=36, width=52)
    output, state = net.step(FrameInput(key), net.init_state())
    moved = net.step(FrameInput(torch.zeros_like(key), torch.zeros(2, 2, 36, 52)), state)[0]
    torch.testing.assert_close(moved, output, atol=1e-5, rtol=1e-5)


def test_motion_before_any_keyframe_is_refused():
    net = tiny_arseg().eval()
    key, _, motion, _ = pair()
    with pytest.raises(UserError, match="start with a keyframe"):
        net.step(FrameInput(key, motion), net.init_state())


def test_train_leaves_the_high_branch_in_eval_and_frozen():
    net = tiny_arseg(mix="gate", init="identity").train()
    before = copy.deepcopy(net.high.state_dict())
    key, current, motion, valid = pair()
    out = net.forward_pair(key, current, motion, valid)
    loss = out.logits.mean() + F.mse_loss(out.features, out.target) + out.auxiliary["aux"].mean()
    loss.backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1.0).step()
    for name, value in net.high.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert net.low.training
    assert net.low.body[1].num_batches_tracked == 1
    assert not any(m.training for m in net.high.modules())
    learning = {n for n, p in net.named_parameters() if p.grad is not None}
    assert {"low.body.0.weight", "low.aux.weight", "fusion.value.weight"} <= learning
    assert not any(n.startswith("high.") or n.startswith("low.head") for n in learning)


def test_classifier_is_one_module_and_the_state_dict_loads_whole(tmp_path):
    net, other = tiny_arseg(), tiny_arseg()
    assert net.low.classifier is net.high.classifier
    head = sum(p.numel() for p in net.high.head.parameters())
    separate = 2 * sum(p.numel() for p in Tiny().parameters())
    assert sum(p.numel() for p in net.parameters()) == separate - head + sum(p.numel() for p in net.fusion.parameters())
    torch.nn.init.normal_(net.high.head.weight)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert torch.equal(other.low.head.weight, net.high.head.weight)
    net.high.load_state_dict(Tiny().state_dict())  # each branch takes a Segmenter's own
    assert torch.equal(net.low.head.weight, net.high.head.weight)


@pytest.mark.parametrize(("legacy", "size"), [("logits", (32, 48)), ("coarse_logits", (8, 12))])
@torch.no_grad()
def test_legacy_outputs_are_coarse_but_steps_give_image_size(legacy, size):
    net = tiny_arseg(legacy=legacy).eval()
    key, current, motion, _ = pair(1, 32, 48)
    output, state = net.step(FrameInput(key), net.init_state())
    assert output.shape[-2:] == (32, 48)
    coarse = net.nonkey(net.shrink(current), state.features, motion)
    assert coarse.shape[-2:] == size
    logits = net.step(FrameInput(current, motion), state)[0]
    torch.testing.assert_close(logits, F.interpolate(coarse, (32, 48), mode="bilinear", align_corners=True))


@torch.no_grad()
def test_legacy_log_probabilities_sum_to_one():
    net = tiny_arseg(legacy="log_probabilities").eval()
    key, current, motion, _ = pair(1, 32, 48)
    output, state = net.step(FrameInput(key), net.init_state())
    for log_probabilities in (output, net.step(FrameInput(current, motion), state)[0]):
        torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(1, 32, 48))


class NonKey(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, low, features, motion, valid):
        return self.net.nonkey(low, features, motion, valid)


@pytest.mark.parametrize("fusion", FORMS)
@torch.no_grad()
def test_exports_with_the_attention_as_one_node(fusion):
    net = NonKey(tiny_arseg(**fusion).eval())
    key, current, motion, valid = pair(1)
    arguments = (downscale(current, 0.5), net.net.key(key)[1], motion, valid)
    program = torch.export.export(net, arguments)
    nodes = [n for n in program.graph.nodes if n.target is torch.ops.vss.local_attention.default]
    assert len(nodes) == 1
    torch.testing.assert_close(program.module()(*arguments), net(*arguments))


def test_compiles_in_one_graph_with_gradients():
    net = tiny_arseg(mix="gate", init="identity").eval()
    key, current, motion, valid = pair(1)
    features = net.key(key)[1]
    module = NonKey(net)

    def gradient(call):
        net.zero_grad()
        out = call(downscale(current, 0.5), features, motion, valid)
        out.square().mean().backward()
        return out.detach(), net.fusion.value.weight.grad.clone()

    expected = gradient(module)
    found = gradient(torch.compile(module, backend="aot_eager", fullgraph=True))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_states_without_logits_are_the_same():
    net = tiny_arseg().eval()
    key, current, motion, valid = pair()
    for method in (net, *net.comparisons()):
        state = after = method.init_state()
        for frame in (FrameInput(key), FrameInput(current, motion, valid)):
            state, after = method.step(frame, state)[1], method.advance(frame, after)
        assert torch.equal(state.features, after.features) if state is not None else after is None
