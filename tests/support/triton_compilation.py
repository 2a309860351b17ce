"""Compile Triton kernels for a GPU that is not there: `python -m tests.support.triton_compilation CAPABILITY`.

Each launch that the operators make is recorded and compiled as it would be, down to machine code. A line for each says
what it needs: registers of a thread, stack in bytes (registers that do not suffice), shared memory in bytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from src.ops.local_attention_shifts import AttentionOptions
from src.ops.triton import gate, local_attention, warp

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.uint8: "*u8"}
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that a program can have


def launches(work: Callable[[], Any]) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """Kernels that a function starts, with their arguments and options; none runs."""
    found: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []

    def record(kernel: Any, *args: Any, grid: Any, warmup: bool, **given: Any) -> None:
        options = {key: given.pop(key) for key in ("num_warps", "num_stages") if key in given}
        found.append((kernel, {**dict(zip(kernel.arg_names, args, strict=False)), **given}, options))

    before, JITFunction.run = JITFunction.run, record
    try:
        work()
    finally:
        JITFunction.run = before
    yield from found


def compiled(kernel: Any, arguments: dict[str, Any], options: dict[str, Any], capability: int) -> str:
    """Compile a launch; what it needs."""
    constants, signature, attributes = {}, {}, {}
    for number, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            constants[parameter.name], signature[parameter.name] = value, "constexpr"
            continue
        kind = TYPES[value.dtype] if isinstance(value, Tensor) else "fp32" if isinstance(value, float) else "i32"
        signature[parameter.name] = kind
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(number,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert binary.metadata.shared <= SHARED[capability], f"{kernel.__name__}: {binary.metadata.shared} bytes are shared"
    registers, stack = _usage(binary.asm["cubin"])
    types = sorted({t for t in signature.values() if t in ("*bf16", "*fp16")}) or ["*fp32"]
    name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}"
    return f"{name} {types[0][1:]}: {registers} registers, {stack} bytes of stack, {binary.metadata.shared} shared"


def _usage(cubin: bytes) -> tuple[int, int]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


def work(dtype: torch.dtype, channels: int, placed: bool) -> Callable[[], None]:
    """Every operator once, on feature maps as the networks have them."""

    def run() -> None:
        shape = (1, channels, 16, 32)
        q, k, v, g = (torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last) for _ in range(4))
        valid, motion = torch.ones(1, 16, 32, dtype=torch.bool), torch.zeros(1, 2, 16, 32)
        options = AttentionOptions(valid, torch.zeros(49) if placed else None, 7, 0.125, False)
        local_attention.forward(q, k, v, options, q)
        local_attention.backward(g, q, k, v, options)
        if channels == 64:
            weights, trust = torch.zeros(2, 8, channels), torch.zeros(1, 1, 16, 32)
            warp.forward(q, motion, valid)
            warp.backward(g, motion)
            gate.compare(q, k, weights)
            gate.compare_backward(torch.zeros(1, 8, 16, 32), q, k, weights)
            gate.blend(q, k, trust)
            gate.blend_backward(g, q, k, trust)

    return run


def compile_all(capability: int, cases: list[Callable[[], None]] | None = None) -> list[str]:
    """Compile every kernel for a compute capability such as 90; what each needs."""
    cases = cases or [work(torch.bfloat16, 64, True)]
    return [compiled(*launch, capability) for case in cases for launch in launches(case)]


if __name__ == "__main__":
    types = (torch.bfloat16, torch.float32)
    everything = [work(t, c, placed) for t in types for c, placed in ((64, True), (64, False), (256, False))]
    for case in everything:
        print("\n".join(compile_all(int(sys.argv[1]), [case])), flush=True)
