"""Find losses and weights that are not finite, without waiting for a GPU in each step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

SCALER_STEPS = 50  # in a row that a gradient scaler may skip while it looks for its scale


class LossWatch:
    """Remembers on the device of the loss since which step it has not been finite.

    Args:
        forgets: a finite loss ends the matter, as a gradient scaler skips steps before it.
    """

    def __init__(self, forgets: bool) -> None:
        self.forgets = forgets
        self._since: Tensor | None = None

    def add(self, loss: Tensor, step: int) -> None:
        """Look at the loss of a step; nothing waits for its value."""
        if self._since is None:
            self._since = torch.full((), -1, dtype=torch.int64, device=loss.device)
        begun = torch.where(loss.detach().isfinite(), -1, step).to(torch.int64)
        kept = self._since >= 0
        if self.forgets:
            kept = kept & (begun >= 0)
        self._since = torch.where(kept, self._since, begun)

    def failed_at(self, step: int) -> int | None:
        """Return the first step of losses that are not finite, if there is reason to stop; this waits for the device.

        Args:
            step: the current one.
        """
        since = -1 if self._since is None else int(self._since)
        return since if since >= 0 and step - since >= (SCALER_STEPS if self.forgets else 0) else None


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all values are finite; waits for each device once."""
    found: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.is_floating_point():
            found.setdefault(tensor.device, []).append(tensor.detach().isfinite().all())
    return all(bool(torch.stack(flags).all()) for flags in found.values())
