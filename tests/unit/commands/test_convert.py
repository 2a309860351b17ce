"""Official files become checkpoints of ours that run alike."""

from __future__ import annotations

import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.checkpoints.official.load import load_official
from src.commands.convert import convert_release
from src.errors import UserError
from tests.unit.checkpoints.official.parity import recipe

pytestmark = pytest.mark.slow


def config(composed, tmp_path, name, high=None, **state):
    """Files of an official release and the configuration that converts them."""
    for part, content in state.items():
        torch.save(content, tmp_path / f"{part}.pth")
    given = [f"name={name}", f"source={tmp_path}/source.pth", f"output={tmp_path}/ours.ckpt"]
    return composed("convert", tmp_path, *given, *([f"key_source={tmp_path}/{high}.pth"] if high else []))


@torch.inference_mode()
def test_arseg_comes_back_with_its_conventions(composed, tmp_path):
    own, high = recipe.state_dict("arseg_camvid_psp18_AR"), recipe.state_dict("arseg_camvid_psp18_HR")
    high |= {key: own[key] for key in own if key.startswith("final_conv.")}  # the classifier is shared
    path = convert_release(config(composed, tmp_path, "arseg_camvid_psp18", "key", source=own, key=high))
    loaded, official = load_checkpoint(path), load_official("arseg_camvid_psp18", own, high)
    image, motion = recipe.image(1, 64, 96), recipe.motion(2, 64, 96)
    features = official.key(image)[1]
    assert torch.equal(loaded.network.key(image)[0], official.key(image)[0])
    small = official.shrink(image)
    assert torch.equal(loaded.network.nonkey(small, features, motion), official.nonkey(small, features, motion))
    assert loaded.network.legacy == "log_probabilities"
    assert loaded.network.fusion.legacy
    assert (len(loaded.classes), loaded.classes.names[-1], loaded.network.scale) == (12, "void", 0.5)
    assert loaded.normalisation.mean == (0.39068785, 0.40521392, 0.41434407)
    assert loaded.metadata["data"]["options"]["void"]  # src.eval composes its data set by it
    assert sorted(p.name for p in tmp_path.iterdir()) == ["key.pth", "ours.ckpt", "source.pth"]


def test_cityscapes_release(composed, tmp_path):
    path = convert_release(
        config(composed, tmp_path, "rdrnet_s_simple", source={"state_dict": recipe.state_dict("rdrnet_s_simple")})
    )
    loaded = load_checkpoint(path)
    assert (len(loaded.classes), loaded.classes.names[0], loaded.network.scale) == (19, "road", 1.0)
    assert loaded.normalisation.mean == (0.485, 0.456, 0.406)


@torch.inference_mode()
def test_a_deployed_release_stays_deployed(composed, tmp_path):
    state, image = recipe.state_dict("rdrnet_s_simple_deploy"), recipe.image(1, 64, 96)
    net = load_checkpoint(convert_release(config(composed, tmp_path, "rdrnet_s_simple", source=state))).network.net
    assert net.state_dict().keys() == state.keys()
    assert torch.equal(net(image), load_official("rdrnet_s_simple", state)(image))


def test_bad_input_leaves_no_file(composed, tmp_path):
    good = recipe.state_dict("rdrnet_s_simple")
    for name, state in (("nonsense", good), ("rdrnet_l", good), ("rdrnet_s_simple", [1, 2])):
        with pytest.raises(UserError):
            convert_release(config(composed, tmp_path, name, source=state))
    (tmp_path / "source.pth").write_bytes(b"no checkpoint")
    with pytest.raises(UserError):
        convert_release(composed("convert", tmp_path, *_given(tmp_path)))
    assert not (tmp_path / "ours.ckpt").exists()


def test_output_that_cannot_be_written(composed, tmp_path):
    (tmp_path / "file").touch()
    torch.save(recipe.state_dict("rdrnet_s_simple"), tmp_path / "source.pth")
    with pytest.raises(UserError, match="cannot be written"):
        convert_release(composed("convert", tmp_path, *_given(tmp_path, "file/ours.ckpt")))


def _given(tmp_path, output="ours.ckpt"):
    return "name=rdrnet_s_simple", f"source={tmp_path}/source.pth", f"output={tmp_path}/{output}"
