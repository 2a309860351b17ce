"""Devices and strategies that fit, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.plugins.precision import FSDPPrecision
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from omegaconf import DictConfig, OmegaConf
from torch import nn

from src.cli.config import plain
from src.commands.train import complete
from src.errors import UserError
from src.training.callbacks.checkpoint import WholeFileIO
from src.training.callbacks.ema import ExponentialMovingAverage
from src.training.devices import check_devices, check_sharding, default_strategy, determinism, process_count
from src.training.phases import build_phase
from src.training.preflight import preflight


def test_torchrun_needs_a_common_run_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    trainer = OmegaConf.create({"accelerator": "cpu", "devices": 2, "sync_batchnorm": False, "strategy": "auto"})
    check_devices(trainer, ["hydra.run.dir=RUN"])
    with pytest.raises(UserError, match=r"hydra\.run\.dir=RUN"):
        check_devices(trainer, [])


@pytest.mark.parametrize(
    ("devices", "nodes", "expected"), [(1, 1, 1), ("4", 1, 4), ("0,1", 2, 4), ([3], 1, 1), ("auto", 1, 1)]
)
def test_processes_are_counted_before_a_trainer_is_built(devices: object, nodes: int, expected: int) -> None:
    assert process_count("cpu", devices, nodes) == expected


def test_a_batch_that_processes_cannot_share_is_refused_before_anything_is_written(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = composed("train", tmp_path, "trainer.accelerator=cpu", "trainer.devices=3")
    complete(config)
    with pytest.raises(UserError, match="give a multiple of 3"):
        preflight(plain(config), ["image"], tmp_path, resumes=True)


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


SEVERAL = {"accelerator": "gpu", "devices": 2, "num_nodes": 1, "strategy": "auto", "sync_batchnorm": False}
SEVERAL |= {"accumulate_grad_batches": 1, "deterministic": "auto"}


@pytest.mark.parametrize(("changes", "accumulate", "searches"), [(False, 1, False), (True, 1, True), (False, 2, True)])
def test_unused_parameters_are_searched_for_where_they_change(changes: bool, accumulate: int, searches: bool) -> None:
    strategy = default_strategy(OmegaConf.create({**SEVERAL, "accumulate_grad_batches": accumulate}), changes)
    assert isinstance(strategy, DDPStrategy)
    flags = strategy._ddp_kwargs
    assert (flags["find_unused_parameters"], flags["static_graph"]) == (searches, not searches)
    assert not flags["broadcast_buffers"]


def test_sharding_keeps_statistics_in_32_bits() -> None:
    strategy = default_strategy(OmegaConf.create({**SEVERAL, "strategy": "fsdp"}), False)
    strategy.precision_plugin = FSDPPrecision("bf16-mixed")
    types = strategy.mixed_precision_config
    assert (types.param_dtype, types.reduce_dtype, types.buffer_dtype) == (None, None, None), "as they are"
    assert default_strategy(OmegaConf.create({**SEVERAL, "devices": 1}), False) == "auto"


def test_resizes_are_fast_on_gpus_and_runs_repeat_on_cpus() -> None:
    assert determinism(OmegaConf.create(SEVERAL)) is False
    assert determinism(OmegaConf.create({**SEVERAL, "accelerator": "cpu"})) == "warn"
    assert determinism(OmegaConf.create({**SEVERAL, "deterministic": True})) is True


class Student(LightningModule):
    """A trained and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.teacher = (nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)) for _ in range(2))
        self.teacher.requires_grad_(False).eval()


@torch.no_grad()
def test_averages_live_beside_the_weights_and_share_what_is_frozen() -> None:
    student, ema, trainer = Student(), ExponentialMovingAverage(0.75), mock.Mock(strategy=None)
    ema.setup(trainer, student, "fit")
    ema.on_train_start(trainer, student)
    average = ema._average_model.module
    frozen = zip(average.teacher.state_dict().values(), student.teacher.state_dict().values(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in frozen)
    for step in (1, 2):
        student.own[0].weight.fill_(4.0 * step)
        student.own[1].num_batches_tracked += 1
        trainer.global_step = step
        ema.on_train_batch_end(trainer, student, None, None, step)
    assert float(average.own[0].weight) == 0.75 * 4 + 0.25 * 8
    assert int(average.own[1].num_batches_tracked) == 2
    moved = student.to("meta")
    ema.on_train_start(trainer, moved)
    assert {t.device.type for t in average.state_dict().values()} == {"meta"}, "not on the CPU"
