"""Take one step of label-free learning: frames between keyframes learn what the high branch makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from src.adaptation.options import Learning
from src.data.batch import ClipBatch
from src.errors import UserError
from src.losses.distillation import label_free_losses
from src.models.arseg.net import PairOutput
from src.models.base import Segmenter
from src.models.deploy.frozen import frozen_features
from src.models.video import VideoSegmenter
from src.ops.mixed_precision import DepthwiseBackwardInFloat, computes_in_bfloat16
from src.training.finite import all_finite
from src.training.schedules import cosine


@runtime_checkable
class LearnsFromKeyframes(Protocol):
    """A method with a network for keyframes, `high`, and the training form of a frame after one, as of AR-Seg."""

    high: Segmenter
    forward_pair: Callable[..., PairOutput]


class NotFinite(UserError):
    """Raised when a loss or weights are not finite; the weights before adaptation are unharmed."""


def check_adaptable(network: VideoSegmenter, checkpoint: str) -> None:
    """Reject a network that has nothing to learn from its keyframes.

    Raises:
        UserError: it is not AR-Seg.
    """
    if not isinstance(network, LearnsFromKeyframes):
        raise UserError(
            f"checkpoint '{checkpoint}' holds a network ({network.method}) whose frames do not learn from keyframes; "
            "give one of AR-Seg (model=arseg)"
        )


class Learner:
    """Trains low branch and fusion of AR-Seg against its high branch, which stays as it is, as do all statistics.

    The loss is feature similarity training without labels: mean squared error of the fused features to those of the
    high branch, and cross-entropy to its class distributions, of the same frame.

    Args:
        network: of `check_adaptable`, on its device; its parameters change with each step.
        options: of learning.
        steps: after which the learning rate has fallen to zero, as half a cosine; None: it stays.
    """

    def __init__(self, network: VideoSegmenter, options: Learning, steps: int | None) -> None:
        self.network, self.options = network.eval(), options
        self._pairs = cast(LearnsFromKeyframes, network)
        frozen = {id(parameter) for parameter in self._pairs.high.parameters()}
        self.parameters: dict[str, nn.Parameter] = {
            name: parameter for name, parameter in network.named_parameters() if id(parameter) not in frozen
        }
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        self.start = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._high = frozen_features(self._pairs.high)
        self._device = next(iter(self.parameters.values())).device
        self._steps = steps
        self._begin()

    def _begin(self) -> None:
        self.done = 0
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=self.options.lr)
        self.scheduler = None if self._steps is None else cosine(self.optimizer, self._steps, warmup=0.0)

    def step(self, batch: ClipBatch) -> dict[str, float]:
        """Learn from one batch of normalised pairs on the device; return the terms of the loss.

        Raises:
            NotFinite: the loss is not finite; this step has changed nothing.
        """
        options, frames = self.options, batch.frames
        key, current = (frames[:, n].contiguous(memory_format=torch.channels_last) for n in (0, 1))
        with self._precision():
            pair = self._pairs.forward_pair(key, current, batch.motion, batch.motion_valid, high_features=self._high)
            losses = label_free_losses(pair.features, pair.target, *pair.coarse_logits)
            weights = {"feature": options.feature_weight, "soft": options.soft_weight}
            losses = {name: weights[name] * value for name, value in losses.items()}
        loss = torch.stack(list(losses.values())).sum()
        if not bool(loss.isfinite()):
            raise NotFinite(
                f"the loss is not finite at step {self.done + 1}; give a {options.group}.lr below {options.lr}"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.done += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def weights(self) -> dict[str, Tensor]:
        """Return what learning gives: weights between those of the start and the learned ones.

        Raises:
            NotFinite: they are not finite.
        """
        found = {
            name: torch.lerp(self.start[name], p.detach(), self.options.share) for name, p in self.parameters.items()
        }
        if not all_finite(found.values()):
            lower = f"give a {self.options.group}.lr below {self.options.lr}"
            raise NotFinite(f"weights are not finite after step {self.done}; {lower}")
        return found

    @torch.no_grad()
    def restart(self) -> None:
        """Forget all that was learned."""
        load(self.network, self.start)
        self._begin()

    def state(self) -> dict[str, Any]:
        """Return what `resume` continues from: plain Python and tensors."""
        return {
            "done": self.done,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same network and options."""
        load(self.network, state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.done = state["done"]

    @contextmanager
    def _precision(self) -> Iterator[None]:
        kind, wanted = self._device.type, self.options.precision
        if wanted == "fp32" or (wanted == "auto" and (kind not in ("cpu", "cuda") or not computes_in_bfloat16(kind))):
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(kind, torch.bfloat16))
            if kind == "cpu":
                stack.enter_context(DepthwiseBackwardInFloat())
            yield


@torch.no_grad()
def load(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights into the parameters of a network of these names, in place."""
    parameters = dict(network.named_parameters())
    for name, value in weights.items():
        parameters[name].copy_(value)
