"""Activation checkpointing changes nothing but memory."""

import torch

from src.models.pspnet.net import PSPNet
from src.training.precision import compile_parts


def trained(recompute: bool, backend: str | None = None) -> tuple[list[torch.Tensor], dict[str, torch.Tensor], int]:
    torch.manual_seed(0)
    net = PSPNet(5, 18, dropout=0.0, head_channels=16, aux_channels=None, recompute=recompute)
    if backend is not None:
        compile_parts(net, backend)
    kept = 0

    def pack(x: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = net(torch.randn(2, 3, 48, 64)).square().mean()
    loss.backward()
    return [p.grad for p in net.parameters()], dict(net.named_buffers()), kept


def test_gradients_and_statistics_are_those_without() -> None:
    plain, ours = trained(False), trained(True)
    assert all(torch.equal(a, b) for a, b in zip(plain[0], ours[0], strict=True))
    assert all(torch.equal(value, ours[1][name]) for name, value in plain[1].items())
    assert ours[2] < 0.5 * plain[2], "far fewer activations are kept"


def test_blocks_that_are_recomputed_are_compiled() -> None:
    plain, compiled = trained(True), trained(True, "eager")
    assert all(torch.equal(a, b) for a, b in zip(plain[0], compiled[0], strict=True))
    assert all(torch.equal(value, compiled[1][name]) for name, value in plain[1].items())
