"""Base of all LightningModules: optimiser, schedule, logged losses, the checkpoint's metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.checkpoints.metadata import KEY
from src.distributed import all_reduce_sum, broadcast_from_first, rank_and_world_size
from src.errors import UserError, check_choice
from src.training.finite import LossWatch, all_finite
from src.training.precision import compile_parts


class TrainingModule(L.LightningModule):
    """Trains `net`; subclasses give the steps.

    Args:
        net: the network; only parameters with `requires_grad` are optimised.
        optimizer: called with the parameters.
        scheduler: called with the optimiser and `total_steps`, stepped per optimiser step.
        decay: weight decay is for "all" parameters, or for the "weights" of convolutions and linear layers only.

    Raises:
        UserError: another `decay`.
    """

    metadata: dict[str, Any]
    graph_changes = False  # true where other parameters get a gradient in some steps than in others

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        decay: str,
    ) -> None:
        super().__init__()
        check_choice("decay", decay, ("all", "weights"))
        self.net, self.decay = net, decay
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.metadata, self.is_compiled = {}, False
        self._watch = LossWatch(forgets=False)

    def compile_net(self, backend: str) -> None:
        """Compile the parts of the network with a backend of torch.compile.

        Raises:
            UserError: an unknown backend.
        """
        compile_parts(self.net, backend)
        self.is_compiled = True

    def configure_optimizers(self) -> Any:
        """The optimiser with its schedule over the whole run.

        Raises:
            UserError: values that the optimiser rejects.
        """
        groups = [group for parameters, factor in self.param_groups() for group in self._groups(parameters, factor)]
        optimizer = build_optimizer(self.make_optimizer, groups)
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor")
        scheduler = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters to optimise, in groups with a factor of the learning rate each."""
        return [([p for p in self.parameters() if p.requires_grad], 1.0)]

    def _groups(self, parameters: list[nn.Parameter], factor: float) -> list[dict[str, Any]]:
        if self.decay == "all":
            return [{"params": parameters, "lr_factor": factor}]
        weights = {id(m.weight) for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
        decayed = [p for p in parameters if id(p) in weights]
        undecayed = [p for p in parameters if id(p) not in weights]
        return [
            {"params": decayed, "lr_factor": factor},
            {"params": undecayed, "lr_factor": factor, "weight_decay": 0.0},
        ]

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed dropout by batch and rank, so that a resumed run draws what an uninterrupted one does."""
        seed = int(self.metadata.get("seed", 0))
        place = (seed * 1_000_003 + self.current_epoch) * 1_000_003 + index
        torch.manual_seed((place * 1009 + self.global_rank) % 2**63)
        steps = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (self.device.type == "cpu" and self.trainer.world_size == 1) or self.global_step % max(1, steps) == 0:
            self._check_finite({})

    def on_train_start(self) -> None:
        """Watch the loss from here."""
        self._watch = LossWatch(forgets=getattr(self.trainer.precision_plugin, "scaler", None) is not None)

    def on_validation_epoch_start(self) -> None:
        """Validate with the batch norm statistics of the first process, which are those that are saved."""
        broadcast_from_first(self.buffers())

    def log_losses(self, losses: dict[str, Tensor]) -> Tensor:
        """The sum of named losses, each logged as train/<name> with the sum as train/loss.

        Only steps that are logged ask the other processes for their share: in all others nobody waits.
        """
        total = torch.stack(list(losses.values())).sum()
        self._watch.add(total, self.global_step)
        trainer = self._trainer  # None where a step is run alone
        if trainer is not None and trainer._logger_connector.should_update_logs:  # a rule without a public name
            means = all_reduce_sum(torch.stack([*losses.values(), total])) / rank_and_world_size()[1]
            values = {f"train/{name}": value for name, value in zip([*losses, "loss"], means, strict=True)}
            self.log_dict(values, on_step=True, on_epoch=False)
        return total

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the metadata: network, classes and normalisation, all that running the network needs.

        Raises:
            UserError: the loss or weights are not finite; what was saved before is kept.
        """
        checkpoint[KEY] = self.metadata
        self._check_finite({**checkpoint["state_dict"], **checkpoint.get("current_model_state", {})})

    def _check_finite(self, state: dict[str, Tensor]) -> None:
        """Stop where the loss, or one of these weights or statistics, is not finite; all processes agree on it."""
        buffers = {n for n, _ in self.named_buffers() if not n.endswith(("running_mean", "running_var"))}
        weights = [t for name, t in state.items() if name not in buffers and isinstance(t, Tensor)]
        since = self._watch.failed_at(self.global_step)
        if not self.trainer.strategy.reduce_boolean_decision(since is not None or not all_finite(weights), all=False):
            return
        found = f"weights at step {self.global_step} are" if since is None else f"the loss is from step {since} on"
        last = Path(self.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        kept = f"the last finite checkpoint is '{last}'" if last.exists() else "there is no checkpoint before that"
        raise UserError(
            f"phase {self.metadata.get('phase')}: {found} not finite; {kept}. Start again in "
            "another hydra.run.dir with a lower model.optimizer.lr, or with trainer.gradient_clip_val=1.0 "
            "model.optimizer.fused=false"
        )


def build_optimizer(maker: Callable[..., Optimizer], parameters: list[Any]) -> Optimizer:
    """Build the optimiser of parameters, or of groups of them.

    Raises:
        UserError: values that the optimiser rejects.
    """
    try:
        return maker(parameters)
    except ValueError as error:  # ranges are known to the library only
        raise UserError(f"model.optimizer rejects its values ({error}); correct them") from error
