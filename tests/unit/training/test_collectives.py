"""Processes of a training wait for each other only where they must."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from tests.support import configs, trainings
from tests.support.processes import together


class CollectivesOfSteps(Callback):
    """Writes which collectives of Python there are from one step to the next, those of gradients aside."""

    names = ("all_reduce", "barrier", "broadcast", "all_gather", "all_gather_object", "broadcast_object_list")

    def __init__(self, file: str) -> None:
        self.file, self.seen, self.steps = Path(file), Counter[str](), []
        for name in self.names:
            setattr(dist, name, self._counting(name, getattr(dist, name)))

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.seen[name] += 1
            return function(*args, **kwargs)

        return counted

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(Counter(self.seen))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        steps = [dict(after - before) for before, after in pairwise(self.steps)]
        ddp = trainer.strategy.model
        flags = [ddp.broadcast_buffers, ddp.find_unused_parameters, ddp.static_graph]
        if trainer.is_global_zero:
            self.file.write_text(json.dumps({"steps": steps, "flags": flags}))


def test_processes_wait_for_each_other_only_where_they_must(tmp_path: Path, street_cache: Path) -> None:
    """Without logging, a step needs one sum for its loss, besides the exchange of gradients."""
    file = tmp_path / "steps.json"
    count = f"+callbacks.count={{_target_: {__name__}.CollectivesOfSteps, file: {file}}}"
    options = ["trainer.devices=2", "data.batch_size=4", "model.phases.low=null", "model.high_epochs=2"]
    options += ["trainer.log_every_n_steps=4", "+limits.limit_val_batches=1"]  # epochs have three steps
    overrides = [*configs.ARSEG, *options, count, f"paths.cache={street_cache}"]
    together(2, trainings.run, tmp_path / "run", overrides, log=tmp_path / "log")
    found = json.loads(file.read_text())
    _, quiet, _, logged, _ = found["steps"]
    assert quiet == {"all_reduce": 1}
    assert logged["all_reduce"] <= 4, "the values to log, and the agreements on signals and on finite weights"
    assert set(logged) <= {"all_reduce", "barrier"}
    assert logged["barrier"] <= 2, "those agreements"
    assert found["flags"] == [False, False, True]
