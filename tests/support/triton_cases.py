"""Triton kernels against the plain form in float64: `python -m tests.support.triton_cases DEVICE` prints JSON.

On "cpu" Triton's interpreter runs them (TRITON_INTERPRET=1), on "cuda" the GPU. Values are the largest differences of
results and gradients from the plain form's, over its largest value.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

if __name__ == "__main__" and os.environ.get("TRITON_INTERPRET") == "1":
    import tests.support.triton_interpreter  # noqa: F401

import torch
from torch import Tensor

from src.models.arseg.fusion import CReFF
from src.ops import cpu, forms, gate, triton
from src.ops.local_attention import local_attention
from src.ops.warp import warp

LAST, FIRST = torch.channels_last, torch.contiguous_format
Function = Callable[..., Any]


def randoms(shape: tuple[int, ...], dtype: torch.dtype, memory: torch.memory_format, count: int) -> list[Tensor]:
    return [torch.randn(shape).to(dtype).contiguous(memory_format=memory) for _ in range(count)]


def run(function: Function, leaves: list[Tensor], gradient: Tensor | None) -> list[Tensor]:
    """The first output of a function, its other outputs, and the gradients of what it depends on."""
    leaves = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in leaves]
    found = function(*leaves)
    out, *others = found if isinstance(found, tuple) else (found,)
    if gradient is None:
        return [out, *others]
    return [out, *others, *torch.autograd.grad(out, leaves, gradient.to(out.dtype))]


def differences(function: Function, leaves: list[Tensor], gradient: Tensor | None, device: str) -> list[float]:
    move = lambda x: x.to(device)  # noqa: E731
    found = run(function, [move(x) for x in leaves], None if gradient is None else move(gradient))
    before, cpu_before = triton.enabled, cpu.enabled
    triton.enabled = cpu.enabled = False
    try:
        wide = [move(x.double()) for x in leaves]
        expected = run(function, wide, None if gradient is None else move(gradient.double()))
    finally:
        triton.enabled, cpu.enabled = before, cpu_before
    return [
        float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=0.1))  # a gradient may be 0
        for a, b in zip(found, expected, strict=True)
    ]


def attention(
    device: str, shape: tuple[int, ...], dtype: torch.dtype, memory: torch.memory_format, *, window: int = 7,
    masked: bool = True, placed: bool = True, zero_padding: bool = False, backward: bool = True, added: bool = False,
) -> list[float]:  # fmt: skip
    batch, channels, height, width = shape
    leaves = randoms(shape, dtype, memory, 3)
    valid = (torch.rand(batch, height, width) < 0.6).to(device) if masked else None
    if valid is not None:
        valid[..., : width // 2 - 1] = False  # leaves pixels without any key
    names = ["position"] * placed + ["residual"] * added
    leaves += [torch.randn(window**2)] * placed + randoms(shape, torch.float32, memory, 1) * added

    def function(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> Tensor:
        options: Any = dict(zip(names, rest, strict=True))
        return local_attention(
            q, k, v, valid, window=window, scale=channels**-0.5, zero_padding=zero_padding, **options
        )

    return differences(function, leaves, torch.randn(shape).to(dtype) if backward else None, device)


def warping(device: str, shape: tuple[int, ...], dtype: torch.dtype, memory: torch.memory_format) -> list[float]:
    batch, _, height, width = shape
    motion = (6 * torch.randn(batch, 2, height, width)).to(device)
    motion[0, :, 0, 0] = torch.tensor([0.0, -0.5])  # at the edge of the map
    valid = (torch.rand(batch, height, width) < 0.8).to(device)
    function = lambda features: warp(features, motion, valid)  # noqa: E731
    return differences(function, randoms(shape, dtype, memory, 1), torch.randn(shape).to(dtype), device)


def comparing(device: str, shape: tuple[int, ...], dtype: torch.dtype) -> list[float]:
    batch, channels, height, width = shape
    leaves = [*randoms(shape, dtype, LAST, 2), torch.randn(2, 8, channels) / channels]
    return differences(gate.compare, leaves, torch.randn(batch, 8, height, width), device)


def blending(device: str, shape: tuple[int, ...], dtype: torch.dtype) -> list[float]:
    batch, _, height, width = shape
    leaves = [*randoms(shape, dtype, FIRST, 2), torch.rand(batch, 1, height, width)]
    return differences(gate.blend, leaves, torch.randn(shape), device)


def fusion(device: str, **options: Any) -> list[float]:
    """CReFF as a whole: the fused features and the gradients of low features, keyframe features and parameters."""
    net = CReFF(20, **options).to(device)
    low, key = torch.randn(2, 20, 4, 6), torch.randn(2, 20, 7, 11)
    motion, known = 4 * torch.randn(2, 2, 14, 22).to(device), (torch.rand(2, 14, 22) < 0.7).to(device)
    names = [name for name, _ in net.named_parameters()]

    def function(low: Tensor, key: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        fused: Tensor = torch.func.functional_call(net, named, (low, key, motion.to(low.dtype), known))
        return fused

    if net.gate is not None:  # it starts with weights of 0
        torch.nn.init.normal_(net.gate.score.weight)
    parameters = [p.detach().cpu() for p in net.parameters()]
    return differences(function, [low, key, *parameters], torch.randn(2, 20, 7, 11), device)


F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
CASES: dict[str, Function] = {
    "attention": lambda d: attention(d, (2, 20, 5, 10), F32, LAST, added=True),
    "attention of one pixel": lambda d: attention(d, (1, 3, 1, 1), F32, FIRST, masked=False),
    "attention over blocks of channels": lambda d: attention(d, (1, 150, 3, 4), F32, FIRST, placed=False),
    "attention with zero padding": lambda d: attention(d, (1, 17, 9, 3), F32, FIRST, masked=False, zero_padding=True),
    "attention with a window of 3": lambda d: attention(d, (1, 16, 4, 9), F32, LAST, window=3),
    "attention with a window of 11": lambda d: attention(d, (1, 16, 3, 9), F32, LAST, window=11, backward=False),
    "attention in bf16, float32 sum": lambda d: attention(d, (1, 20, 5, 10), BF16, LAST, added=True, backward=False),
    "attention in bf16": lambda d: attention(d, (1, 20, 5, 6), BF16, LAST),
    "attention in fp16": lambda d: attention(d, (1, 20, 5, 6), F16, FIRST),
    "warp": lambda d: warping(d, (2, 70, 5, 9), F32, FIRST),
    "warp in bf16": lambda d: warping(d, (2, 5, 7, 4), BF16, LAST),
    "gate compares": lambda d: comparing(d, (2, 70, 5, 9), F32),
    "gate compares in bf16": lambda d: comparing(d, (1, 20, 5, 9), BF16),
    "gate blends": lambda d: blending(d, (2, 70, 5, 9), F32),
    "gate blends in bf16": lambda d: blending(d, (1, 20, 5, 9), BF16),
    "fusion": lambda d: fusion(d),
    "fusion with a gate": lambda d: fusion(d, mix="gate", init="identity"),
    "fusion in official form": lambda d: fusion(d, legacy=True),
}
ROUNDED = {"bf16": 2**-8, "fp16": 2**-11}  # results in these types differ by their own rounding, gradients too


def limit_of(name: str) -> float:
    """Largest difference allowed; the sum of a case in bf16 that is written in float32 shows that of the kernel."""
    if "float32 sum" in name:
        return 1e-5
    if "official" in name:
        return 5e-5  # its products are not scaled: logits of this size have that error in float32
    return next((limit for half, limit in ROUNDED.items() if half in name), 1e-5)


def main() -> None:
    device = sys.argv[1]
    cpu.enabled = False
    assert forms.can_use_triton(torch.zeros(1, device=device)), "no kernel runs on this device"
    results: dict[str, list[float] | str] = {}
    for name, case in CASES.items():
        torch.manual_seed(0)
        try:
            results[name] = case(device)
        except Exception:
            results[name] = traceback.format_exc()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
