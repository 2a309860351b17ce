"""`trainer.strategy=fsdp`: reaches the Trainer, trains what one process does, and is refused where it would not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch.distributed.fsdp import fully_sharded_data_parallel

from tests.integration.test_processes import GROUP, SHARED
from tests.support import trainings
from tests.support.processes import together


class OnCpu(FSDPStrategy):
    """Lightning refuses only its own class on CPUs."""


def on_cpu(state: Any, *_: Any) -> Any:
    """Let torch shard on CPUs, where it has no streams and events to ask for."""
    state._device_handle = mock.MagicMock()
    state._device_handle.current_device.return_value = torch.device("cpu")
    return state


def sharded(run_dir: Path, overrides: list[str]) -> None:
    device = mock.patch.object(fully_sharded_data_parallel, "_init_device_handle", on_cpu)
    with device, mock.patch("src.training.phases.default_strategy", side_effect=lambda *_: OnCpu()):
        trainings.run(run_dir, overrides)


def test_sharded_training_is_resumed_and_ends_like_that_of_one_process(tmp_path: Path, street_cache: Path) -> None:
    overrides = [*GROUP, f"paths.cache={street_cache}", "channels_last=false"]
    trainings.run(tmp_path / "one", overrides)
    stop = "+callbacks.stop={_target_: tests.integration.test_train.StopAt, epoch: 1}"
    with pytest.raises(RuntimeError, match="power cut"):
        together(2, sharded, tmp_path / "two", [*overrides, *SHARED, stop], log=tmp_path / "log")
    together(2, sharded, tmp_path / "two", [*overrides, *SHARED, "ckpt_path=last"], log=tmp_path / "log")
    for phase in ("high", "low"):
        one, two = (trainings.last(tmp_path / run, phase)["state_dict"] for run in ("one", "two"))
        assert one.keys() == two.keys()
        apart = max(float((one[key].double() - two[key].double()).abs().max()) for key in one)
        print(f"phase {phase}: weights of two sharded processes and one differ by {apart:.1e} at most")
        assert apart < 1e-5
