"""Processes of an evaluation: their number, the wait for them, and their end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from src.commands import processes
from src.errors import UserError


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hydra = SimpleNamespace(
        mode=RunMode.RUN,
        overrides=SimpleNamespace(hydra=["hydra.run.dir=RUN"]),
        launcher=SimpleNamespace(_target_="BasicLauncher"),
    )
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)


@pytest.mark.parametrize(("name", "most"), [("auto", 3), ("cuda", 3), ("cuda:0", 1), ("cuda:1", 1)])
def test_a_name_without_number_stands_for_all_devices(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "choose_device", lambda _: torch.device("cuda", 0))  # as for a tensor on `cuda`
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    started: list[int] = []

    def fabric(devices: int, **_: object) -> None:
        started.append(devices)
        raise InterruptedError

    monkeypatch.setattr(processes, "Fabric", fabric)
    for devices in ("auto", most):
        try:
            with processes.processes(name, devices) as device:
                assert device.index == 0
                started.append(1)
        except InterruptedError:
            pass
    assert started == [most, most]
    with pytest.raises(UserError, match=f"1 to {most}"), processes.processes(name, most + 1):
        pass
