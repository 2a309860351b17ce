"""Grouped knowledge distillation (TDNet): the teacher and the losses against it."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import UserError
from src.models.pspnet.net import PSPNet
from src.models.tdnet.net import ClipOutput
from src.models.tdnet.paths import group_channels
from src.ops.resize import resize, size_of

DIRECTIONS = ("forward", "reverse")


def check_groups(num_paths: int, groups: int) -> None:
    """Reject a number of paths that cannot share groups of channels evenly.

    Raises:
        UserError: no multiple of `groups`.
    """
    if num_paths % groups:
        raise UserError(
            f"network.num_paths={num_paths}: these paths cannot share {groups} groups of channels evenly; "
            f"give a multiple of {groups}"
        )


class GroupedTeacher(nn.Module):
    """A frozen PSPNet that also gives the logits of one group of its head's input channels.

    The head's 3x3 convolution is a sum over groups of input channels. Each part of it, scaled by the number
    of groups so that the batch norm behind it sees values of the usual size, gives logits of its own. (The
    official code leaves the scaling out where there are two groups.)

    Args:
        net: trained on the classes of the student.
        num_paths: of the student, as many groups there are.
        student_groups: groups of channels among the student's paths.

    Raises:
        UserError: the paths cannot share out the groups evenly.
    """

    def __init__(self, net: PSPNet, num_paths: int, student_groups: int) -> None:
        super().__init__()
        check_groups(num_paths, student_groups)
        self.net = net.requires_grad_(False).eval()
        self.num_paths, self.student_groups = num_paths, student_groups
        deep = net.backbone.channels[-1]
        for path in range(num_paths):  # buffers, as a list would be copied to the device at each step
            channels = torch.tensor(group_channels(deep, num_paths, self.group(path)))
            self.register_buffer(f"channels_{path}", channels, persistent=False)

    def train(self, mode: bool = True) -> GroupedTeacher:
        """Stays in eval mode: its batch norms must not follow the student's batches."""
        return super().train(False)

    def group(self, path: int) -> int:
        """The group that teaches a path: one of those inside the student's own group of channels.

        With four paths in two groups the paths learn from groups 0, 2, 1, 3 (official code).
        """
        share = self.num_paths // self.student_groups
        return path % self.student_groups * share + path // self.student_groups

    @torch.no_grad()
    def forward(self, image: Tensor, path: int) -> tuple[Tensor, Tensor]:
        """Logits (B, K, H/8, W/8) of an image (B, 3, H, W), from all channels and from the path's group."""
        *_, deep = self.net.backbone(image)
        context = self.net.pyramid(deep)
        channels, convolution = self.get_buffer(f"channels_{path}"), cast(nn.Conv2d, self.net.head[0])
        weight = convolution.weight.index_select(1, channels)
        part = F.conv2d(context.index_select(1, channels), weight, padding=convolution.padding)
        return self._segment(convolution(context)), self._segment(self.num_paths * part)

    def _segment(self, x: Tensor) -> Tensor:
        for layer in list(self.net.head)[1:]:
            x = layer(x)
        return self.net.classify(x)


class GroupedDistillation(nn.Module):
    """Fused logits learn from the whole teacher, a path's own logits from the teacher's group for that path.

    The paper writes the divergence as KL(student || teacher), "reverse"; the official code computes
    KL(teacher || student), "forward". Temperature 1, all pixels, ignored ones too, at feature resolution.

    Args:
        direction: "forward" or "reverse".
        fused_weight: factor of the first term, 1 in the official code.
        own_weight: factor of the second, 0.5 in the official code.

    Raises:
        UserError: unknown direction.
    """

    def __init__(self, direction: str = "forward", fused_weight: float = 1.0, own_weight: float = 0.5) -> None:
        super().__init__()
        if direction not in DIRECTIONS:
            raise UserError(f"distillation direction '{direction}' is unknown; take one of {', '.join(DIRECTIONS)}")
        self.direction, self.fused_weight, self.own_weight = direction, fused_weight, own_weight

    def forward(self, student: ClipOutput, whole: Tensor, group: Tensor) -> dict[str, Tensor]:
        """Weighted scalars "distil_fused" and "distil_own" against teacher logits (B, K, h, w)."""
        return {
            "distil_fused": self.fused_weight * pixel_divergence(student.fused, whole, self.direction),
            "distil_own": self.own_weight * pixel_divergence(student.own, group, self.direction),
        }


def pixel_divergence(student: Tensor, teacher: Tensor, direction: str) -> Tensor:
    """KL divergence of class distributions given by logits (B, K, h, w), mean over pixels, in nats.

    The teacher's map is resized to the student's; its gradient is cut.
    """
    target = resize(teacher.detach(), size_of(student), align_corners=True).float().log_softmax(1)
    guess = student.float().log_softmax(1)
    expected, under = (target, guess) if direction == "forward" else (guess, target)
    return F.kl_div(under, expected, reduction="none", log_target=True).sum(1).mean()
