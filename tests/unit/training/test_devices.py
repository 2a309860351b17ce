"""Devices and strategies that fit, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from lightning.pytorch.plugins.precision import FSDPPrecision
from lightning.pytorch.strategies import FSDPStrategy
from omegaconf import DictConfig, OmegaConf

from src.cli.config import plain
from src.commands.train import complete
from src.errors import UserError
from src.training.callbacks.checkpoint import WholeFileIO
from src.training.callbacks.ema import ExponentialMovingAverage
from src.training.devices import check_devices, check_sharding
from src.training.phases import build_phase


def test_torchrun_needs_a_common_run_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    trainer = OmegaConf.create({"accelerator": "cpu", "devices": 2, "sync_batchnorm": False, "strategy": "auto"})
    check_devices(trainer, ["hydra.run.dir=RUN"])
    with pytest.raises(UserError, match=r"hydra\.run\.dir=RUN"):
        check_devices(trainer, [])


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
    complete(config)
    trainer = build_phase(config, plain(config), tmp_path, "high").trainer
    assert isinstance(trainer.strategy, FSDPStrategy)
    assert trainer.world_size == 2
    assert isinstance(trainer.precision_plugin, FSDPPrecision)
    assert isinstance(trainer.strategy.checkpoint_io, WholeFileIO)


def test_averages_of_sharded_weights_are_refused() -> None:
    with pytest.raises(UserError, match="callbacks=ema"):
        ExponentialMovingAverage(0.9).setup(mock.Mock(strategy=FSDPStrategy()), mock.Mock(), "fit")
