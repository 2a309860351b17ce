"""Choose the precision of training; bf16 autocast that is fast on CPUs for depthwise convolutions too."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from src.errors import UserError, check_range
from src.models.backbones.resnet import ResNet
from src.models.base import Segmenter
from src.training.devices import on_cpu

PRECISIONS = ("auto", "bf16-mixed", "16-mixed", "32-true")
SHORT_NAMES = {"bf16": "bf16-mixed", "16": "16-mixed", "32": "32-true"}
CPU_FEATURES = ("avx512_bf16", "amx_bf16", "arm_bf16")  # without one of them bf16 is emulated, far slower than fp32


def resolved_precision(precision: str | int, accelerator: str) -> str | int:
    """Return a configured precision, for "auto" what the hardware here is fast in.

    That is bf16-mixed on accelerators and CPUs that compute in bf16, 16-mixed on older CUDA devices, else fp32.
    """
    if precision != "auto":
        return precision
    return _fastest(on_cpu(accelerator))


def trainer_precision(precision: str | int, accelerator: str) -> dict[str, Any]:
    """Return the Trainer's arguments for a configured precision.

    Raises:
        UserError: a precision that keeps weights and inputs in 16 bits, which rounds motion by 0.1 pixels and more,
            or that does not run here.
    """
    cpu = on_cpu(accelerator)
    precision = SHORT_NAMES.get(str(precision), precision)
    known = [name for name in PRECISIONS if not (cpu and name == "16-mixed")]
    check_range(precision in known, "trainer.precision", precision, f"one of {', '.join(known)}: weights in 32 bits")
    if precision == "auto":  # of a trial that is only built; `src.train` has it resolved
        precision = _fastest(cpu)
    if cpu and precision == "bf16-mixed":
        return {"precision": None, "plugins": [CPUMixedPrecision()]}
    return {"precision": precision}


def _fastest(cpu: bool) -> str:
    if cpu:
        capable = torch.cpu.get_capabilities()
        return "bf16-mixed" if any(capable.get(feature) for feature in CPU_FEATURES) else "32-true"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "32-true"


class CPUMixedPrecision(MixedPrecision):
    """bf16 autocast, with gradients of depthwise convolutions computed in fp32."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")

    @contextmanager
    def forward_context(self) -> Generator[None, None, None]:
        """Autocast for one training or evaluation step."""
        with super().forward_context(), DepthwiseBackwardInFloat():
            yield


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


def compile_parts(net: nn.Module, backend: str) -> None:
    """Compile the parts of a network.

    Training calls other methods of a network than `forward`, so its parts are compiled rather than itself; parts
    of that kind, such as AR-Seg's branches, are looked into in turn. Of a backbone that recomputes its blocks these
    are compiled: the compiler cannot trace through recomputation.

    Raises:
        UserError: an unknown backend.
    """
    known = torch.compiler.list_backends(None)
    if backend not in known:
        raise UserError(f"compile={backend} is not a backend of torch.compile; choose one of {', '.join(known)}")
    for part in net.children():
        in_blocks = isinstance(net, ResNet) or (isinstance(part, ResNet) and part.recompute)
        if in_blocks or isinstance(part, Segmenter) or type(part).forward is nn.Module.forward:
            compile_parts(part, backend)
        else:
            part.compile(backend=backend)
