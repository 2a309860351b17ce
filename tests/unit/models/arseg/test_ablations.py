"""Forms of the fusion of the paper's ablations, and fusion inside the network."""

from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.models.arseg.ablations import REDUCTION, Concatenation, GlobalAttention
from src.models.arseg.fusion import CReFF
from src.models.registry import build
from src.models.video import FrameInput
from tests.support.tiny_arseg import pair

TINY = {"name": "tiny", "arguments": {}}
FORMS = [
    {"mix": "attended"},
    {"grouped": False},
    {"form": "global"},
    {"form": "concatenation"},
    {"location": "body.0"},
]


def arseg(**options):
    torch.manual_seed(0)
    given = {key: options.pop(key) for key in ("share_classifier",) if key in options}
    return build("arseg", {"network": TINY, "fusion": options, **given})


@pytest.mark.parametrize("fusion", FORMS)
def test_training_form_equals_step_form_and_all_is_trained(fusion):
    net = arseg(**fusion).eval()
    key, current, motion, valid = pair()
    trained = net.forward_pair(key, current, motion, valid)
    _, state = net.step(FrameInput(key), net.init_state())
    logits, after = net.step(FrameInput(current, motion, valid), state)
    torch.testing.assert_close(trained.logits, logits)
    assert after.features is state.features
    torch.testing.assert_close(net.advance(FrameInput(key), net.init_state()).features, state.features)
    trained.logits.sum().backward()
    assert all(p.grad is not None for p in net.fusion.parameters())
    assert all(p.grad is None for p in net.high.parameters())


@torch.no_grad()
def test_without_direct_connection_only_the_keyframe_is_left():
    fusion = CReFF(3, mix="attended", init="identity")
    fusion.position = None
    keys = torch.ones(1, 3, 8, 8)
    fused = fusion(torch.randn(1, 3, 4, 4), keys, torch.zeros(1, 2, 8, 8))
    torch.testing.assert_close(fused, keys)


@torch.no_grad()
def test_global_attention_reads_the_whole_keyframe_but_for_what_is_not_valid():
    fusion, size = GlobalAttention(2), 2 * REDUCTION
    for convolution in (fusion.query, fusion.key):
        torch.nn.init.zeros_(convolution.weight)  # all positions count the same
    torch.nn.init.dirac_(fusion.value.weight, groups=2)
    keys = torch.zeros(1, 2, size, size)
    keys[..., :REDUCTION] = 1
    low, motion, valid = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, size, size), torch.ones(1, size, size).bool()
    torch.testing.assert_close(fusion(low, keys, motion, valid), torch.full_like(keys, 0.5))
    valid[..., REDUCTION:] = False
    torch.testing.assert_close(fusion(low, keys, motion, valid), torch.ones_like(keys), atol=1e-4, rtol=0)


@torch.no_grad()
def test_concatenation_reads_nothing_of_what_is_not_valid():
    fusion, motion = Concatenation(2), torch.zeros(1, 2, 8, 8)
    low, unknown = torch.randn(1, 2, 4, 4), torch.zeros(1, 8, 8).bool()
    one, other = (fusion(low, torch.randn(1, 2, 8, 8), motion, unknown) for _ in range(2))
    assert torch.equal(one, other)


@torch.no_grad()
def test_behind_an_inner_fusion_the_low_branch_is_at_high_resolution():
    net = arseg(location="body.0").eval()
    key, current, motion, valid = pair()
    seen = []
    net.low.body[1].register_forward_hook(lambda _, __, output: seen.append(output.shape[-2:]))
    state = net.step(FrameInput(key), net.init_state())[1]
    net.step(FrameInput(current, motion, valid), state)
    assert seen == [state.features.shape[-2:]]
    assert [other.method for other in net.comparisons()] == ["constant"]


def test_a_classifier_of_its_own_is_trained():
    net = arseg(share_classifier=False)
    assert net.low.classifier is not net.high.classifier
    net.forward_pair(*pair()).logits.sum().backward()
    assert net.low.classifier.weight.grad is not None


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ({"form": "round"}, "model.fusion.form=round is not one of creff, global, concatenation"),
        ({"location": "spine"}, "no module of the network; give one of body"),
        ({"grouped": False, "init": "identity"}, "give model.fusion.init=kaiming"),
    ],
)
def test_forms_that_do_not_exist_are_refused(fusion, message):
    with pytest.raises(UserError, match=message):
        arseg(**fusion)
