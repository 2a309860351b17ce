"""Base of the LightningModules of all segmentation methods: validation, and starting from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from src.checkpoints.load import network_state, read_checkpoint
from src.data.batch import ClipBatch
from src.errors import UserError
from src.metrics.collection import CONFUSION, ON_IMAGES, Makers, build_metrics
from src.metrics.confusion import iou
from src.models.base import Segmenter
from src.ops.resize import resize, size_of
from src.training.modules.base import TrainingModule

HIGH = "high."  # before the names of the tensors of AR-Seg's high branch


def load_net(net: nn.Module, checkpoint: Path) -> None:
    """Fill a network with the weights that a checkpoint of this project holds of the same network.

    Of AR-Seg, whose `high` branch is such a network, a network of an image gets the weights of that branch.

    Raises:
        UserError: the checkpoint is missing, damaged, or holds another network.
    """
    state = _state(checkpoint)
    branch = {key.removeprefix(HIGH): value for key, value in state.items() if key.startswith(HIGH)}
    try:
        net.load_state_dict(branch if branch.keys() == net.state_dict().keys() else state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]  # of hundreds
        raise _other_network(checkpoint, first) from error


def load_pretrained(net: Segmenter, checkpoint: Path) -> None:
    """Fill a network with the weights of the same network trained on other classes; its classifiers keep their own.

    Raises:
        UserError: the checkpoint is missing, damaged, or holds another network.
    """
    state, own = _state(checkpoint), net.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    lacking = [k for k, v in own.items() if k not in fitting and v.shape[:1] != (net.num_classes,)]
    if lacking:
        raise _other_network(checkpoint, f"nothing fits {lacking[0]}")
    net.load_state_dict({**own, **fitting})


def _state(checkpoint: Path) -> dict[str, Tensor]:
    return network_state(read_checkpoint(checkpoint), checkpoint)


def _other_network(checkpoint: Path, detail: str) -> UserError:
    return UserError(
        f"checkpoint '{checkpoint}' holds another network than the configured one ({detail}); "
        "use the network.* settings it was trained with"
    )


STARTS = ("own", "high")  # of a low branch: initial weights of its own, or those of the high branch


class SegmentationModule(TrainingModule):
    """Trains a network that segments; subclasses give `training_step` and `predict_logits`.

    Args:
        net: the network.
        class_names: names of the classes 0..K-1, for the log.
        distances: number of distances to the keyframe that validation tells apart.
        metrics: constructors of the metrics of validation by name.
        base: arguments of `TrainingModule`.
    """

    def __init__(self, net: nn.Module, class_names: list[str], distances: int, metrics: Makers, **base: Any) -> None:
        super().__init__(net, **base)
        self.class_names = class_names
        self.metrics = build_metrics(metrics, ON_IMAGES, num_classes=len(class_names), distances=distances)

    def predict_logits(self, batch: ClipBatch, index: int) -> Tensor:
        """Logits (B, K, H, W) of the last frame of each clip of the validation batch number `index`."""
        raise NotImplementedError

    def validation_step(self, batch: ClipBatch, index: int) -> Tensor:
        """Class indices (B, H, W) of the last frames at the size of their labels, counted at their distances."""
        logits = resize(self.predict_logits(batch, index), size_of(batch.labels))
        predictions = logits.argmax(1)
        self.metrics.update(preds=predictions, target=batch.labels, distance=batch.distance)
        return predictions

    def on_validation_epoch_end(self) -> None:
        """Log val/miou, val/miou_d<k> and val/iou/<class> over all distances seen, and val/<name> of single numbers."""
        computed = self.metrics.compute()
        scores = iou(computed.pop(CONFUSION))
        by_distance = scores.nanmean(1)
        seen = ~by_distance.isnan()
        values = {f"val/miou_d{int(d)}": by_distance[d] for d in seen.nonzero().flatten()}
        values["val/miou"] = by_distance[seen].mean()
        per_class = scores[seen].nanmean(0)
        values |= {f"val/iou/{name}": per_class[k] for k, name in enumerate(self.class_names)}
        values |= {f"val/{name}": value for name, value in computed.items() if value.ndim == 0}
        self.metrics.reset()
        self.log_dict({key: value.float() for key, value in values.items()})
