"""Local attention on a GPU: Triton kernels, shifted maps, FlexAttention.

    python -m scripts.benchmarks.local_attention_gpu

One line for each shape and type, as JSON: milliseconds of forward and of forward and backward (median), and the floor:
the time that a copy of this GPU needs to read query, key and value and to write the result once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from src.ops import triton as triton_forms
from src.ops.local_attention import local_attention

# Batch, channels, height, width of features: PSPNet-18 (CamVid), light network, BiSeNet-18, PSPNet-18 (Cityscapes)
SHAPES = [(1, 64, 720, 960), (8, 64, 720, 960), (1, 64, 180, 240), (1, 256, 90, 120), (1, 512, 128, 256)]
WINDOW = 7
Attention = Callable[..., Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one tiny shape")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.device == "cpu" and not options.small:
        print("skipped: there is no GPU")
        return
    for shape in [(1, 16, 12, 20)] if options.small else SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            print(json.dumps(measure(shape, dtype, torch.device(options.device))), flush=True)


def measure(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    batch, channels, height, width = shape
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    q, k, v = (x.contiguous(memory_format=torch.channels_last).requires_grad_() for x in (q, k, v))
    valid = torch.rand(batch, height, width, device=device) < 0.9
    result: dict[str, Any] = {"shape": shape, "dtype": str(dtype).removeprefix("torch.")}
    result["floor_ms"] = floor(4 * q.numel() * q.element_size(), device)
    plain = partial(local_attention, valid=valid, scale=channels**-0.5)
    ways: dict[str, Attention] = {"triton": plain, "shifts": with_shifts(plain)}
    if channels <= 256:  # of a head of FlexAttention
        ways["flex"] = flex(valid, channels**-0.5)
    expected = ways["shifts"](q, k, v).detach().float() if q.numel() < 2**26 else None
    for name, attend in ways.items():
        try:
            found = attend(q, k, v)
            if expected is not None:
                result[f"{name}_difference"] = float((found.float() - expected).abs().max())
            result[f"{name}_forward_ms"] = clock(lambda attend=attend: forward(attend, q, k, v), device)
            gradient = torch.ones_like(found)
            result[f"{name}_both_ms"] = clock(
                lambda attend=attend, g=gradient: torch.autograd.grad(attend(q, k, v), (q, k, v), g), device
            )
            del found, gradient
        except Exception as error:
            result[f"{name}_failed"] = f"{type(error).__name__}: {error}"[:200]
    return result


@torch.no_grad()
def forward(attend: Attention, *maps: Tensor) -> None:
    attend(*maps)


def with_shifts(attend: Attention) -> Attention:
    def run(*maps: Tensor) -> Tensor:
        before, triton_forms.enabled = triton_forms.enabled, False
        try:
            return attend(*maps)
        finally:
            triton_forms.enabled = before

    return run


def flex(valid: Tensor, scale: float) -> Attention:
    """FlexAttention with the same window and mask over flattened maps."""
    batch, height, width = valid.shape
    known, radius = valid.flatten(1), WINDOW // 2

    def near(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        rows, columns = (j // width - i // width).abs(), (j % width - i % width).abs()
        return (rows <= radius) & (columns <= radius) & known[b, j]

    on_gpu = valid.device.type == "cuda"
    mask = create_block_mask(near, batch, 1, height * width, height * width, valid.device.type, _compile=on_gpu)
    attend: Any = torch.compile(flex_attention) if on_gpu else flex_attention

    def run(*maps: Tensor) -> Tensor:
        heads = [x.flatten(2).transpose(1, 2)[:, None] for x in maps]
        out: Tensor = attend(*heads, block_mask=mask, scale=scale)
        return out[:, 0].transpose(1, 2).unflatten(2, (height, width))

    return run


def floor(size: int, device: torch.device) -> float:
    """Milliseconds to move so many bytes, half of them read and half written."""
    source = torch.empty(size // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return clock(lambda: target.copy_(source), device)


def clock(work: Callable[[], Any], device: torch.device) -> float:
    """Median milliseconds; 0 on a CPU, where only whether it runs is of interest."""
    work()
    if device.type != "cuda":
        return 0.0
    from triton.testing import do_bench

    median: float = do_bench(work, warmup=50, rep=300, return_mode="median")
    return round(median, 4)


if __name__ == "__main__":
    main()
