"""What every network must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.network_cases import CASES, CLASSES, DEPLOYED, Case

SMALL = (64, 96)


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build()


def first(output: Tensor | tuple[Tensor, Any]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


class TestModel:
    @pytest.fixture(params=[*CASES, *DEPLOYED])
    def case(self, request: pytest.FixtureRequest) -> Case:
        return {**CASES, **DEPLOYED}[request.param]

    @pytest.mark.parametrize("size", [SMALL, (45, 77)])
    @torch.no_grad()
    def test_logits_have_picture_size(self, case: Case, size: tuple[int, int]) -> None:
        net = seeded(case.build).eval()
        logits = first(case.run(net)(*case.inputs(net, size)))
        assert logits.shape == (1, CLASSES, *size)
        assert logits.isfinite().all()

    @torch.no_grad()
    def test_state_dict_round_trip_and_bf16(self, case: Case) -> None:
        net, other = (seeded(case.build, seed).eval() for seed in (0, 1))
        inputs = case.inputs(net, SMALL)
        expected = first(case.run(net)(*inputs))
        other.load_state_dict(net.state_dict())
        assert torch.equal(first(case.run(other)(*inputs)), expected)
        with torch.autocast("cpu", torch.bfloat16):
            rough = first(case.run(net)(*inputs)).float()
        assert (rough - expected).abs().mean() < 0.1 * expected.abs().mean()

    @torch.no_grad()
    @pytest.mark.slow
    def test_exported_program_gives_the_same_logits(self, case: Case) -> None:
        net = seeded(case.build).eval()
        inputs = case.inputs(net, SMALL)
        program = torch.export.export(case.run(net), inputs)
        torch.testing.assert_close(program.module()(*inputs), case.run(net)(*inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_step_reaches_every_parameter_that_should_learn(name: str) -> None:
    net = seeded(CASES[name].build).train()
    with torch.no_grad():
        for parameter in net.parameters():  # a fusion that starts as the identity has zeros in the way at first
            parameter.add_(0.01 * torch.randn_like(parameter))
    outputs = CASES[name].training(net, SMALL)
    torch.stack([(out * torch.randn_like(out)).sum() for out in outputs]).sum().backward()
    unreached = [
        key for key, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert unreached == []
    frozen = [key for key, p in net.named_parameters() if not p.requires_grad and p.grad is not None]
    assert frozen == []
    idle = [key for key, p in net.named_parameters() if p.requires_grad and p.ndim > 1 and not p.grad.any()]
    assert idle == []
