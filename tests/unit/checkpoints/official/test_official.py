"""Official checkpoints: the same outputs as the official code, every key accounted for, clear refusals.

The stored outputs were made with the official repositories from the weights and inputs of `parity/recipe.py`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.checkpoints.official.load import convert, load_official
from src.checkpoints.official.releases import RELEASES
from src.errors import UserError
from src.models.base import Segmenter
from src.models.gcnet.net import GCBlock
from src.models.rdrnet.reparam import ReparamBlock
from src.models.video import FrameInput
from tests.support.rdrnet_variants import deployed
from tests.unit.checkpoints.official.parity import recipe

pytestmark = pytest.mark.slow

# release -> key list, its aliases, key list of the high-resolution branch
CASES = {
    "arseg_camvid_psp18": ("arseg_camvid_psp18_AR", "", "arseg_camvid_psp18_HR"),
    "arseg_camvid_bise18": ("arseg_camvid_bise18_AR", "bisenet", "arseg_camvid_bise18_HR"),
    "arseg_cityscapes_psp18": ("arseg_city_psp18_AR", "pspnet_city", "arseg_city_psp18_HR_train"),
    "arseg_cityscapes_bise18": ("arseg_city_bise18_AR", "bisenet", "arseg_city_bise18_HR"),
    "pspnet101": ("tdnet_psp101", "", None),
    "tdnet_td4_psp18": ("tdnet_td4_psp18", "", None),
    "tdnet_td2_psp50": ("tdnet_td2_psp50", "", None),
    "rdrnet_s_simple": ("rdrnet_s_simple", "", None),
    "rdrnet_s": ("rdrnet_s", "", None),
    "rdrnet_m": ("rdrnet_m", "", None),
    "rdrnet_l": ("rdrnet_l", "", None),
    "gcnet_s": ("gcnet_s", "", None),
    "gcnet_m": ("gcnet_m", "", None),
    "gcnet_l": ("gcnet_l", "", None),
    "efficientvit_seg_b0": ("efficientvit_seg_b0", "", None),
    "efficientvit_seg_b1": ("efficientvit_seg_b1", "", None),
    "efficientvit_seg_l1": ("efficientvit_seg_l1", "", None),
}
ARSEG = [name for name in CASES if name.startswith("arseg")]
RDRNET = [name for name in CASES if name.startswith("rdrnet")]
GCNET = [name for name in CASES if name.startswith("gcnet")]
TOLERANCE = 1e-4
STRICT = 5e-6  # a wrong constant of batch norm or attention, or another GELU, passes 1e-4


def state_dicts(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    own, family, high = CASES[name]
    return recipe.state_dict(own, family), recipe.state_dict(high, family) if high else None


def distance(ours: Tensor, stored: np.ndarray) -> float:
    assert ours.shape == stored.shape
    return float(np.abs(ours.numpy() - stored).max() / np.abs(stored).max())


def run(net: nn.Module, height: int, width: int) -> list[Tensor]:
    """One output of a single-frame network, two of a network for video."""
    first, second = recipe.image(1, height, width), recipe.image(2, height, width)
    if isinstance(net, Segmenter):
        return [net(first)]
    logits, state = net.step(FrameInput(first), net.init_state())
    return [logits, net.step(FrameInput(second), state)[0]]


@torch.inference_mode()
def test_arseg_on_camvid_gives_the_official_log_probabilities():
    state, high = state_dicts("arseg_camvid_psp18")
    net, stored = load_official("arseg_camvid_psp18", state, high), recipe.stored("arseg_camvid_psp18")
    current = recipe.image(12, 128, 192)
    small = torch.nn.functional.interpolate(current, (64, 96), mode="bilinear", align_corners=True)
    output, features = net.key(recipe.image(11, 128, 192))
    assert distance(output[:, :, ::4, ::4], stored["keyframe"]) < TOLERANCE
    output = net.nonkey(small, features, recipe.motion(13, 128, 192))
    assert distance(output[:, :, ::4, ::4], stored["nonkey"]) < TOLERANCE


@torch.inference_mode()
def test_rdrnet_gives_the_official_logits():
    net = load_official("rdrnet_s_simple", recipe.state_dict("rdrnet_s_simple"))
    logits = net.classify(net.features(recipe.image(7, 128, 256)))
    assert distance(logits[:, :, ::2, ::2], recipe.stored("rdrnet_s_simple")["logits"]) < TOLERANCE


@torch.inference_mode()
def test_gcnet_gives_the_official_logits_in_both_forms_and_the_auxiliary_ones():
    net, stored = load_official("gcnet_s", recipe.state_dict("gcnet_s")), recipe.stored("gcnet_s")
    merged = deployed(net)
    images = {"even": recipe.image(21, 96, 160), "odd": recipe.image(22, 97, 161), "large": recipe.image(23, 256, 512)}
    for kind, image in images.items():
        features, taps = net.encode(image)
        found = {"logits": net.classify(features), "deploy": merged.classify(merged.features(image))}
        for name, output in {**found, **net.auxiliary(taps)}.items():
            output = output[:, :, ::2, ::2] if kind == "large" else output
            assert distance(output, stored[f"{name}_{kind}"]) < STRICT, (name, kind)


@torch.inference_mode()
def test_efficientvit_gives_the_official_logits_and_stages():
    name = "efficientvit_seg_b0"
    net, stored = load_official(name, recipe.state_dict(name)), recipe.stored(name)
    for kind, image in {"even": recipe.image(31, 96, 160), "large": recipe.image(33, 160, 256)}.items():
        assert distance(net.classify(net.features(image)), stored[f"logits_{kind}"]) < STRICT
    odd = recipe.image(32, 97, 161)
    for stage, level in zip((2, 3, 4), net.backbone(odd), strict=True):
        assert distance(level, stored[f"stage{stage}_odd"]) < STRICT
    assert net(odd).shape == (1, 19, 97, 161)


@torch.inference_mode()
def test_tdnet_gives_the_official_logits_frame_by_frame():
    """Six frames reach every path, the start without history and the first path's second turn."""
    net = load_official("tdnet_td4_psp18", recipe.state_dict("tdnet_td4_psp18"))
    state = net.init_state()
    for t, stored in enumerate(recipe.stored("tdnet_td4_psp18")["logits"]):
        logits, state = net.step(FrameInput(recipe.image(100 + t, 769, 1537)), state)
        assert distance(logits[..., ::48, ::48], stored) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_every_release_loads_whole_and_runs(name):
    state, high = state_dicts(name)
    net = load_official(name, {"state_dict": {f"module.{k}": v for k, v in state.items()}}, high)
    assert not net.training
    for output in run(net, 64, 96):
        assert output.shape == (1, RELEASES[name].num_classes, 64, 96)
        assert output.isfinite().all()


@pytest.mark.parametrize("name", RDRNET)
@torch.inference_mode()
def test_a_deployed_rdrnet_has_the_official_names_and_the_logits_of_its_training_form(name):
    trained = load_official(name, recipe.state_dict(name))
    state = deployed(trained).state_dict()
    official = recipe.state_dict(f"{name}_deploy")
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in official.items()}
    net = load_official(name, {"state_dict": {f"module.{key}": value for key, value in state.items()}})
    assert not net.training
    assert not any(isinstance(module, ReparamBlock) for module in net.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    image = recipe.image(1, 72, 100)
    assert distance(net(image), trained(image).numpy()) < TOLERANCE


@pytest.mark.parametrize("name", GCNET)
@torch.inference_mode()
def test_a_deployed_gcnet_loads_by_its_official_names(name):
    net = load_official(name, {"state_dict": recipe.state_dict(f"{name}_deploy")})
    assert not any(isinstance(module, GCBlock) for module in net.modules())
    assert net(recipe.image(1, 72, 100)).isfinite().all()


def test_a_deployed_state_dict_is_checked_key_by_key_too():
    state = recipe.state_dict("rdrnet_s_simple_deploy")
    del state["backbone.stem.3.reparam_3x3.bias"]
    with pytest.raises(UserError, match=r"'rdrnet_s_simple' \(1 missing: backbone\.stem\.3\.reparam_3x3\.bias\)"):
        load_official("rdrnet_s_simple", state)


def test_the_cases_are_the_releases():
    """Of three variants of EfficientViT there is no list of official names."""
    unlisted = {f"efficientvit_seg_{variant}" for variant in ("b2", "b3", "l2")}
    assert CASES.keys() == RELEASES.keys() - unlisted


@pytest.mark.parametrize(
    ("name", "keyframe", "nonkey"),
    [
        ("arseg_camvid_bise18", (64, 96), (64, 96)),
        ("arseg_cityscapes_psp18", (64, 96), (8, 12)),
        ("arseg_cityscapes_bise18", (64, 96), (64, 96)),
    ],
)
@torch.inference_mode()
def test_arseg_outputs_have_the_official_sizes(name, keyframe, nonkey):
    net = load_official(name, *state_dicts(name))
    output, features = net.key(recipe.image(1, 64, 96))
    assert output.shape[-2:] == keyframe
    assert features.shape == (1, net.high.feature_channels, 8, 12)
    motion = torch.zeros(1, 2, 64, 96)
    assert net.nonkey(recipe.image(2, 32, 48), features, motion).shape[-2:] == nonkey


@pytest.mark.parametrize("name", ARSEG)
def test_one_file_for_both_branches_is_said(name):
    state, _ = state_dicts(name)
    with pytest.warns(UserWarning, match="both take the same one"):
        net = load_official(name, state)
    low = net.low.state_dict()
    assert all(torch.equal(value, low[key]) for key, value in net.high.state_dict().items())


def test_branches_keep_their_own_weights():
    state, high = state_dicts("arseg_camvid_psp18")
    high["feats.conv1.weight"] = high["feats.conv1.weight"] + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = load_official("arseg_camvid_psp18", state, high)
    assert torch.equal(net.high.backbone.conv1.weight, high["feats.conv1.weight"])
    assert torch.equal(net.low.backbone.conv1.weight, state["feats.conv1.weight"])


@torch.inference_mode()
def test_branches_that_differ_in_the_classifier_keep_their_own(tmp_path: Path):
    """The official code then runs each branch with its own; a checkpoint of ours has one, so converting refuses."""
    state, high = state_dicts("arseg_cityscapes_bise18")
    other = {key: value + 1 if key.endswith("final_conv.bias") else value for key, value in high.items()}
    other["conv_out.conv_out.bias"] = other["final_conv.bias"]
    with pytest.warns(UserWarning, match="differ in their classifier"):
        net = load_official("arseg_cityscapes_bise18", state, other)
    same = load_official("arseg_cityscapes_bise18", state, high)
    current, features = recipe.image(2, 32, 48), same.key(recipe.image(1, 64, 96))[1]
    moved = net.key(recipe.image(1, 64, 96))[0] - same.key(recipe.image(1, 64, 96))[0]
    torch.testing.assert_close(moved, torch.ones_like(moved))
    motion = torch.zeros(1, 2, 64, 96)
    assert torch.equal(net.nonkey(current, features, motion), same.nonkey(current, features, motion))
    torch.save(state, tmp_path / "AR.pth")
    torch.save(other, tmp_path / "HR.pth")
    with pytest.warns(UserWarning, match="differ"), pytest.raises(UserError, match="differ in the classifier"):
        convert("arseg_cityscapes_bise18", tmp_path / "AR.pth", tmp_path / "HR.pth")


def test_a_state_dict_that_does_not_fit_is_refused_key_by_key():
    state = recipe.state_dict("rdrnet_s_simple")
    del state["backbone.spp.shortcut.bn.weight"]
    state["decode_head.extra"] = torch.zeros(1)
    state["decode_head.conv_seg.bias"] = torch.zeros(11)
    with pytest.raises(UserError) as refusal:
        load_official("rdrnet_s_simple", state)
    message = str(refusal.value)
    assert "1 missing: backbone.spp.shortcut.bn.weight" in message
    assert "1 left over: decode_head.extra" in message
    assert "1 of another shape: decode_head.conv_seg.bias (11,) for (19,)" in message


def test_aliases_that_contradict_each_other_are_refused():
    state, high = state_dicts("arseg_cityscapes_psp18")
    state["cls.4.bias"] = state["final_conv.bias"] + 1
    with pytest.raises(UserError, match=r"'cls\.4\.bias' and 'final_conv\.bias' are one tensor"):
        load_official("arseg_cityscapes_psp18", state, high)


def test_counters_of_batch_norm_may_be_missing():
    state = {k: v for k, v in recipe.state_dict("rdrnet_s_simple").items() if "num_batches" not in k}
    assert load_official("rdrnet_s_simple", state).backbone is not None


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match=r"'pspnet102' is not an official network; choose one of .*pspnet101"):
        load_official("pspnet102", {})


def test_convert_reads_both_files_and_says_what_they_are(tmp_path: Path):
    state, high = state_dicts("arseg_camvid_bise18")
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "AR.pth")
    torch.save({f"module.{k}": v for k, v in high.items()}, tmp_path / "HR.pth")
    net, info = convert("arseg_camvid_bise18", tmp_path / "AR.pth", tmp_path / "HR.pth")
    assert torch.equal(net.low.final_conv.weight, state["final_conv.weight"])
    assert (info["dataset"], info["num_classes"], info["sources"]) == ("camvid", 12, ["AR.pth", "HR.pth"])
    with pytest.raises(UserError, match="one branch"):
        convert("rdrnet_s", tmp_path / "AR.pth", tmp_path / "HR.pth")
