"""PSPNet: shapes, heads and initialisation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.errors import UserError
from src.models.backbones.resnet import ResNet
from src.models.pspnet.net import PSPNet, PSPNetFull


@pytest.mark.parametrize(("height", "width"), [(64, 96), (45, 61)])
def test_seam_and_shapes(height, width):
    torch.manual_seed(0)
    x = torch.randn(2, 3, height, width)
    for net, stride in ((PSPNet(5).eval(), 8), (PSPNetFull(5).eval(), 1)):
        with torch.no_grad():
            features, logits = net.features(x), net(x)
            again = net.classify(features)
        rows, columns = (8 * (-(-n // 8)) // stride for n in (height, width))
        assert features.shape == (2, net.feature_channels, rows, columns)
        assert logits.shape == (2, 5, height, width)
        if (rows, columns) == (height, width):
            assert torch.equal(logits, again)


def test_training_heads_learn_from_the_third_stage_and_are_no_part_of_the_result():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 48)
    for net, name, shape in ((PSPNet(5), "aux", (2, 5, 4, 6)), (PSPNetFull(5), "presence", (2, 5))):
        features, taps = net.encode(x)
        outputs = net.auxiliary(taps)
        assert {key: tuple(value.shape) for key, value in outputs.items()} == {name: shape}
        (net.classify(features).mean() + outputs[name].mean()).backward()
        assert all(p.grad is not None for p in net.parameters())
        net.eval()
        with torch.no_grad():
            before = net(x)
            for parameter in getattr(net, name).parameters():
                parameter.fill_(float("nan"))
            assert torch.equal(net(x), before)


def test_freezing_the_classifier_leaves_the_rest_trainable():
    net = PSPNet(5, aux_channels=None)
    net.classifier.requires_grad_(False)
    frozen = [key for key, p in net.named_parameters() if not p.requires_grad]
    assert frozen == ["final_conv.weight", "final_conv.bias"]


@pytest.mark.parametrize(
    ("form", "layer3", "layer4"),
    [
        ("later_blocks", [1, 1, 2, 2], [1, 1, 4, 4]),
        ("second_convs", [1, 2, 2, 2], [1, 4, 4, 4]),
        ("multigrid", [1, 2, 2, 2], [4, 4, 8, 4]),
    ],
)
def test_dilations_of_resnet18(form, layer3, layer4):
    net = ResNet(18, form)
    for stage, expected in ((net.layer3, layer3), (net.layer4, layer4)):
        convolutions = [conv for block in stage for conv in (block.conv1, block.conv2)]
        assert [conv.dilation[0] for conv in convolutions] == expected
        assert all(conv.stride == (1, 1) and conv.padding == conv.dilation for conv in convolutions)


def test_multigrid_of_bottlenecks():
    with torch.device("meta"):
        net = ResNet(50, "multigrid", deep_stem=True)
    assert [block.conv2.dilation[0] for block in net.layer3] == [1, 2, 2, 2, 2, 2]
    assert [block.conv2.dilation[0] for block in net.layer4] == [4, 8, 16]


def test_backbone_weights_from_a_classifier_file(tmp_path: Path):
    torch.manual_seed(0)
    donor = ResNet(18)
    file = tmp_path / "resnet18.pth"
    torch.save({**donor.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, file)
    net = PSPNet(5, weights=str(file))
    assert all(torch.equal(v, donor.state_dict()[k]) for k, v in net.backbone.state_dict().items())


def test_wrong_backbone_weights_are_the_users_to_mend(tmp_path: Path):
    with pytest.raises(UserError, match="neither 'imagenet', 'none' nor a file"):
        ResNet(18, weights=str(tmp_path / "absent.pth"))
    file = tmp_path / "resnet34.pth"
    torch.save(ResNet(34).state_dict(), file)
    with pytest.raises(UserError, match=r"do not fit a ResNet-18 .*layer1\.2"):
        ResNet(18, weights=str(file))
