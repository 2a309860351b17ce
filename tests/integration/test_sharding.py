"""`trainer.strategy=fsdp`: reaches the Trainer, trains what one process does, and is refused where it would not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.plugins.precision import FSDPPrecision
from lightning.pytorch.strategies import FSDPStrategy
from omegaconf import DictConfig
from torch.distributed.fsdp import fully_sharded_data_parallel

from src.cli.config import plain
from src.errors import UserError
from src.training.callbacks.checkpoint import WholeFileIO
from src.training.callbacks.ema import ExponentialMovingAverage
from src.training.devices import check_devices, check_sharding
from src.training.phases import build_phase
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
    with device, mock.patch("src.training.phases.default_strategy", side_effect=lambda _: OnCpu()):
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


def test_sharding_reaches_the_trainer(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = ["trainer.accelerator=gpu", "trainer.devices=2", "trainer.precision=bf16-mixed", "trainer.strategy=fsdp"]
    config = composed("train", tmp_path, "experiment=arseg_street", *gpus)
    check_devices(config.trainer, [])
    with pytest.raises(UserError, match="channels_last=false"):
        check_sharding(config.trainer, config.channels_last)
    config.channels_last = False
    check_sharding(config.trainer, config.channels_last)
    monkeypatch.setattr("lightning.fabric.accelerators.cuda.num_cuda_devices", lambda: 2)
    monkeypatch.setattr("lightning.pytorch.accelerators.cuda.num_cuda_devices", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    trainer = build_phase(config, plain(config), tmp_path, "high").trainer
    assert isinstance(trainer.strategy, FSDPStrategy)
    assert trainer.world_size == 2
    assert isinstance(trainer.precision_plugin, FSDPPrecision)
    assert isinstance(trainer.strategy.checkpoint_io, WholeFileIO)


def test_averages_of_sharded_weights_are_refused() -> None:
    with pytest.raises(UserError, match="callbacks=ema"):
        ExponentialMovingAverage(0.9).setup(mock.Mock(strategy=FSDPStrategy()), mock.Mock(), "fit")
