"""Train TDNet: grouped distillation from a frozen PSPNet, one path per batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from src.checkpoints.load import load_checkpoint
from src.data.batch import ClipBatch
from src.errors import UserError
from src.losses.segmentation import SegmentationLoss
from src.models.pspnet.net import PSPNet
from src.models.tdnet.net import TDNet
from src.models.tdnet.paths import PSPPath
from src.models.tdnet.variants import GROUPS
from src.models.video import FrameInput, SingleFrame
from src.training.modules.segmentation import SegmentationModule, load_net
from src.training.modules.tdnet_distillation import GroupedDistillation, GroupedTeacher, check_groups
from src.training.modules.tdnet_start import start_from_image_network

TEACHER = "teacher."  # prefix of the teacher's tensors
STATES = {"state_dict", "current_model_state"}  # of a checkpoint; the second where weights are averaged


class TDNetModule(SegmentationModule):
    """Trains TDNet on clips of m frames, or on single images repeated m times (the first stage of its recipe).

    A batch runs one of the m rotations of the paths. Rotations follow the step number, so that all processes
    and a resumed run agree on them; heads, norms and projections of the other paths get no gradient.

    The loss is that of the official code: segmentation losses of the fused logits, of the path's own logits and of
    its auxiliary heads, and the two terms of `GroupedDistillation`.

    Args:
        net: the student.
        loss: on the fused logits and the auxiliary outputs, at label resolution.
        own_weight: factor of the main segmentation loss on the path's own logits.
        distillation: against the teacher's logits of the last frame; None: no teacher is computed, an ablation.
        teacher_from: checkpoint of a PSPNet of any depth; None without distillation.
        start_from: checkpoint of a TDNet like `net`, or of the single-image network that all paths start as;
            None for the student's own initial weights.
        base: arguments of `SegmentationModule`.

    Raises:
        UserError: a checkpoint that does not fit.
    """

    net: TDNet
    graph_changes = True

    def __init__(
        self,
        net: TDNet,
        loss: SegmentationLoss,
        own_weight: float,
        distillation: GroupedDistillation | None,
        teacher_from: Path | None = None,
        start_from: Path | None = None,
        **base: Any,
    ) -> None:
        if not isinstance(net, TDNet):
            raise UserError(f"a {type(net).__name__} is no TDNet; give network=td4_psp18 or another variant of it")
        if (distillation is None) != (teacher_from is None):
            raise UserError(
                "distillation and teacher go together; without both: model.distillation=null model.phases.teacher=null "
                "model.phases.stills.needs.teacher_from=null model.phases.clips.needs.teacher_from=null"
            )
        super().__init__(net, **base)
        if distillation is not None:
            check_groups(net.num_paths, _groups(net))
        self.loss, self.own_weight, self.distillation = loss, own_weight, distillation
        self.teacher = None if teacher_from is None else _teacher(teacher_from, net)
        if start_from is not None:
            _start(net, start_from)

    def training_step(self, batch: ClipBatch, index: int) -> Tensor:
        """Loss of one batch of clips."""
        clip = self._clip(batch)
        path = self.global_step % self.net.num_paths
        output = self.net(clip, path)
        losses = {
            "segmentation": self.loss(output.fused, output.auxiliary, batch.labels),
            "own": self.own_weight * self.loss.of_main(output.own, batch.labels),
        }
        if self.teacher is not None and self.distillation is not None:
            losses |= self.distillation(output, *self.teacher(clip[:, -1], path))
        return self.log_losses(losses)

    def predict_logits(self, batch: ClipBatch, index: int) -> Tensor:
        """Logits (B, K, H, W) of the last frames, streamed; which path they meet changes from batch to batch."""
        clip = self._clip(batch)
        state = self.net.init_state()._replace(path=(index + 1) % self.net.num_paths)
        for frame in clip.unbind(1):
            logits, state = self.net.step(FrameInput(frame), state)
        return logits

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the teacher out, which has a checkpoint of its own."""
        super().on_save_checkpoint(checkpoint)
        for key in STATES & checkpoint.keys():
            checkpoint[key] = {k: v for k, v in checkpoint[key].items() if not k.startswith(TEACHER)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the teacher as it is."""
        if self.teacher is None:
            return
        for key in STATES & checkpoint.keys():
            checkpoint[key] |= {TEACHER + k: v for k, v in self.teacher.state_dict().items()}

    def _clip(self, batch: ClipBatch) -> Tensor:
        """Frames (B, m, 3, H, W); a single image is repeated."""
        if batch.frames.shape[1] == 1:
            return batch.frames.expand(-1, self.net.num_paths, -1, -1, -1)
        return batch.frames


def _teacher(path: Path, student: TDNet) -> GroupedTeacher:
    method = load_checkpoint(path).network
    net = method.net if isinstance(method, SingleFrame) else method
    if not isinstance(net, PSPNet):
        raise UserError(f"teacher '{path}' is a {type(net).__name__}; give the checkpoint of a PSPNet at stride 8")
    return GroupedTeacher(net, student.num_paths, _groups(student))


def _groups(net: TDNet) -> int:
    path = net.paths[0]
    return path.groups if isinstance(path, PSPPath) else GROUPS


def _start(net: TDNet, path: Path) -> None:
    loaded = load_checkpoint(path).network
    if isinstance(loaded, SingleFrame):
        start_from_image_network(net, loaded.net)
    else:
        load_net(net, path)
