"""What the LightningModules of all methods share: optimiser, validation and what a checkpoint carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.data.batch import ClipBatch
from src.errors import UserError
from src.metrics.confusion import DistanceConfusion
from src.models.base import resize
from src.utils.checkpoints import read_checkpoint


def load_net(net: nn.Module, checkpoint: Path) -> None:
    """Fill a network with the weights that a checkpoint of ours holds of the same network.

    Raises:
        UserError: the checkpoint is missing, damaged, or holds another network.
    """
    content = read_checkpoint(checkpoint)
    state = {k.removeprefix("net."): v for k, v in content["state_dict"].items() if k.startswith("net.")}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]  # of hundreds
        raise UserError(
            f"checkpoint '{checkpoint}' holds another network than the configured one ({first}); configure it alike"
        ) from error


def check_start(start: str) -> None:
    """Refuse what is neither "own" initial weights nor the "high" branch's.

    Raises:
        UserError: anything else.
    """
    if start not in ("own", "high"):
        raise UserError(f"model.low_start={start} is not one of own, high; choose one of these")


class SegmentationModule(L.LightningModule):
    """Trains `net`; subclasses give `training_step` and `predict_logits`.

    Args:
        net: the network; only parameters with `requires_grad` are optimised.
        optimizer: called with the parameters.
        scheduler: called with the optimiser and `total_steps`, stepped per optimiser step.
        class_names: names of the classes 0..K-1, for the log.
        distances: number of distances to the keyframe that validation tells apart.
        decay: weight decay is for "all" parameters, or for the "weights" of convolutions and linear layers only.

    Raises:
        UserError: another `decay`.
    """

    card: dict[str, Any]

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        class_names: list[str],
        distances: int,
        decay: str,
    ) -> None:
        super().__init__()
        if decay not in ("all", "weights"):
            raise UserError(f"decay={decay} is not one of all, weights; choose one of these")
        self.net = net
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.class_names, self.decay = class_names, decay
        self.confusion = DistanceConfusion(len(class_names), distances)
        self.card = {}

    def predict_logits(self, batch: ClipBatch, index: int) -> Tensor:
        """Logits (B, K, H, W) of the last frame of each clip of the validation batch number `index`."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """The optimiser with its schedule over the whole run."""
        groups = [group for parameters, factor in self.learning() for group in self._groups(parameters, factor)]
        optimizer = self.make_optimizer(groups)
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor")
        scheduler = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def learning(self) -> list[tuple[list[nn.Parameter], float]]:
        """What is optimised, in groups with a factor of the learning rate each."""
        return [([p for p in self.parameters() if p.requires_grad], 1.0)]

    def _groups(self, parameters: list[nn.Parameter], factor: float) -> list[dict[str, Any]]:
        if self.decay == "all":
            return [{"params": parameters, "lr_factor": factor}]
        weights = {id(m.weight) for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
        decayed = [p for p in parameters if id(p) in weights]
        spared = [p for p in parameters if id(p) not in weights]
        return [
            {"params": decayed, "lr_factor": factor},
            {"params": spared, "lr_factor": factor, "weight_decay": 0.0},
        ]

    def on_train_batch_start(self, batch: ClipBatch, index: int) -> None:
        """Seed dropout by step and rank, so that a resumed run draws what an uninterrupted one does."""
        seed = int(self.card.get("config", {}).get("seed", 0))
        torch.manual_seed((seed * 1_000_003 + self.global_step) * 1009 + self.global_rank)

    def log_losses(self, losses: dict[str, Tensor]) -> Tensor:
        """The sum of named losses, each logged as train/<name> with the sum as train/loss."""
        total = torch.stack(list(losses.values())).sum()
        values = {f"train/{name}": value.detach() for name, value in losses.items()}
        self.log_dict({**values, "train/loss": total.detach()}, on_step=True, on_epoch=False, prog_bar=False)
        return total

    def validation_step(self, batch: ClipBatch, index: int) -> None:
        """Count the confusion of the last frames at their distances, at the size of the labels."""
        logits = resize(self.predict_logits(batch, index), (batch.labels.shape[-2], batch.labels.shape[-1]))
        self.confusion.update(logits.argmax(1), batch.labels, batch.distance)

    def on_validation_epoch_end(self) -> None:
        """Log val/miou, val/miou_d<k> and val/iou/<class> over all distances seen."""
        iou = self.confusion.compute()
        by_distance = iou.nanmean(1)
        seen = ~by_distance.isnan()
        values = {f"val/miou_d{int(d)}": by_distance[d] for d in seen.nonzero().flatten()}
        values["val/miou"] = by_distance[seen].mean()
        per_class = iou[seen].nanmean(0)
        values |= {f"val/iou/{name}": per_class[k] for k, name in enumerate(self.class_names)}
        self.confusion.reset()
        self.log_dict({key: value.float() for key, value in values.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the card: configuration, classes and normalisation, all that running the network needs."""
        checkpoint["card"] = self.card
