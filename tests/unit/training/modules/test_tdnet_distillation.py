"""Grouped distillation: the divergence, the teacher's groups, and starting paths from an image network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from src.errors import UserError
from src.models.pspnet.net import PSPNet
from src.models.tdnet import variants
from src.models.tdnet.net import ClipOutput
from src.models.tdnet.paths import group_channels
from src.training.modules.tdnet_distillation import GroupedDistillation, GroupedTeacher, pixel_divergence
from src.training.modules.tdnet_start import start_from_image_network

CLASSES = 5


@pytest.fixture(scope="module")
def image_network() -> PSPNet:
    torch.manual_seed(0)
    net = PSPNet(CLASSES, 18, "multigrid", head_channels=128, aux_channels=64)
    net.train()(torch.randn(2, 3, 64, 64))  # running statistics that are not the initial ones
    return net.eval()


def test_divergence_in_both_directions():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, CLASSES, 3, 4), torch.randn(2, CLASSES, 3, 4)
    p, q = teacher.softmax(1), student.softmax(1)
    forward = (p * (p / q).log()).sum(1).mean()
    reverse = (q * (q / p).log()).sum(1).mean()
    torch.testing.assert_close(pixel_divergence(student, teacher, "forward"), forward)
    torch.testing.assert_close(pixel_divergence(student, teacher, "reverse"), reverse)
    assert abs(forward - reverse) > 1e-3
    assert pixel_divergence(teacher, teacher + 3, "forward") < 1e-6


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_distillation_moves_the_student_only(direction):
    fused, own, whole, group = (torch.randn(1, CLASSES, 3, 4, requires_grad=True) for _ in range(4))
    terms = GroupedDistillation(direction, 2.0, 0.5)(ClipOutput(fused, own, {}), whole, group)
    torch.testing.assert_close(terms["distil_fused"], 2 * pixel_divergence(fused, whole, direction))
    torch.testing.assert_close(terms["distil_own"], 0.5 * pixel_divergence(own, group, direction))
    (terms["distil_fused"] + terms["distil_own"]).backward()
    assert fused.grad.any()
    assert own.grad.any()
    assert whole.grad is None
    assert group.grad is None


def test_unknown_direction_is_named():
    with pytest.raises(UserError, match="direction 'both'"):
        GroupedDistillation("both")


@pytest.mark.parametrize("paths", [2, 4])
def test_groups_of_the_teacher_add_up_to_it(image_network, paths):
    teacher = GroupedTeacher(image_network, paths, 2).train()
    picture = torch.randn(1, 3, 49, 65)
    whole, _ = teacher(picture, 0)
    torch.testing.assert_close(whole, image_network.classify(image_network.features(picture)))
    context = image_network.pyramid(image_network.backbone(picture)[-1])
    convolution = image_network.head[0]
    groups = [group_channels(512, paths, g) for g in range(paths)]
    assert sorted(c for group in groups for c in group) == list(range(1024))
    parts = [F.conv2d(context[:, c], convolution.weight[:, c], padding=1) for c in groups]
    torch.testing.assert_close(torch.stack(parts).sum(0), convolution(context), rtol=1e-4, atol=1e-4)
    _, logits = teacher(picture, 1)
    middle = paths * parts[teacher.group(1)]
    segment = torch.nn.Sequential(*list(image_network.head)[1:], image_network.final_conv)
    torch.testing.assert_close(logits, segment(middle))
    assert not teacher.net.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_paths_learn_from_groups_inside_their_own_channels(image_network):
    four = GroupedTeacher(image_network, 4, 2)
    assert [four.group(path) for path in range(4)] == [0, 2, 1, 3]
    assert [GroupedTeacher(image_network, 2, 2).group(path) for path in range(2)] == [0, 1]
    with pytest.raises(UserError, match="cannot share"):
        GroupedTeacher(image_network, 3, 2)


@torch.no_grad()
def test_paths_start_as_groups_of_the_image_network(image_network):
    net = variants.td4_psp18(CLASSES).eval()
    start_from_image_network(net, image_network)
    picture = torch.randn(1, 3, 49, 65)
    _, taps = image_network.encode(picture)
    context = image_network.pyramid(image_network.backbone(picture)[-1])
    for i, path in enumerate(net.paths):
        own, own_taps = path.encode(picture)
        torch.testing.assert_close(own, context[:, group_channels(512, 2, i % 2)])
        torch.testing.assert_close(path.auxiliary(own_taps), image_network.auxiliary(taps))
    heads = sum(net.paths[i].head[0](context[:, group_channels(512, 2, i)]) for i in range(2))
    torch.testing.assert_close(heads, image_network.head[0](context), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="cannot start from a PSPNet"):
        start_from_image_network(net, PSPNet(CLASSES + 1, 18, "multigrid", aux_channels=None))
