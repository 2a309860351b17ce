"""Batch norms that processes share compute what the others did."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.errors import UserError
from src.training.sync_batchnorm import SyncBatchNorms
from tests.support.network_cases import CASES, trained

SIZE = (64, 96)


class Counted:
    """Calls of activations inside a network."""

    def __init__(self, net: nn.Module) -> None:
        self.calls = 0
        for module in net.modules():
            if isinstance(module, (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Sigmoid)):
                module.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.calls += 1


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_synchronised_batch_norms_compute_what_they_did(name: str) -> None:
    case, net = CASES[name], trained(name)
    counted = Counted(net)
    inputs = case.inputs(net.eval(), SIZE)
    counted.calls = 0
    expected, calls = first(case.run(net)(*inputs)), counted.calls
    trains = {n for n, m in net.train().named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
    SyncBatchNorms().apply(net)
    assert {n for n, m in net.named_modules() if isinstance(m, nn.SyncBatchNorm)} == trains, "frozen ones stay"
    counted.calls = 0
    torch.testing.assert_close(first(case.run(net.eval())(*inputs)), expected)
    assert counted.calls == calls


def test_a_batch_norm_of_an_unknown_kind_is_not_converted() -> None:
    class Scaled(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    with pytest.raises(UserError, match=r"cannot convert Scaled '0'.*trainer\.sync_batchnorm=false"):
        SyncBatchNorms().apply(nn.Sequential(Scaled(3)))
