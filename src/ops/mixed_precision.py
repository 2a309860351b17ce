"""bf16 autocast that is fast on CPUs for depthwise convolutions too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

CPU_FEATURES = ("avx512_bf16", "amx_bf16", "arm_bf16")  # without one of them bf16 is emulated, far slower than fp32


def computes_in_bfloat16(device: str) -> bool:
    """Return whether a kind of device, "cpu" or "cuda", computes in bf16 itself."""
    if device == "cpu":
        capable = torch.cpu.get_capabilities()
        return any(capable.get(feature) for feature in CPU_FEATURES)
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


class DepthwiseBackwardInFloat(TorchFunctionMode):
    """Sends depthwise convolutions that need gradients through `_DepthwiseConv`.

    oneDNN's bf16 gradients of depthwise convolutions take up to five times as long as its fp32 ones (5x5 kernels,
    stride 2); everything else is faster in bf16.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one torch function, replaced where it is such a convolution."""
        if func is F.conv2d and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    depthwise = groups > 1 and weight.shape[1] == 1 and not isinstance(padding, str)
    if depthwise and weight.requires_grad:
        result: Tensor = _DepthwiseConv.apply(input, weight, bias, stride, padding, dilation, groups)
        return result
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        x = x.to(torch.bfloat16)
        ctx.save_for_backward(x, weight)
        ctx.has_bias, ctx.geometry = bias is not None, geometry
        return F.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), *geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        stride, padding, dilation = (v if isinstance(v, Sequence) else (v, v) for v in (stride, padding, dilation))
        d_x, d_weight, d_bias = torch.ops.aten.convolution_backward(
            gradients[0].float(),
            x.float(),
            weight.float(),
            [weight.shape[0]] if ctx.has_bias else None,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias],
        )
        return None if d_x is None else d_x.to(x.dtype), d_weight, d_bias, None, None, None, None
