"""Local attention over a k x k window around each pixel (AR-Seg, paper section 3.2, Eq. 3-4).

    out(p) = sum_d softmax_d( scale <Q(p), K(p + d)> + position(d) ) V(p + d)

It is a registered operator: torch.export, torch.compile and FLOP counters see one node instead of 49 shifts.
On CPU a Numba kernel computes 7 x 7 windows, on CUDA Triton kernels most windows; every other case is a sum over
shifted maps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from src.ops import local_attention_shifts as shifts
from src.ops import local_attention_tiles as tiles
from src.ops import standard
from src.ops.forms import attention_form
from src.ops.local_attention_shifts import AttentionOptions

MAPS = "Tensor query, Tensor key, Tensor value"
OPTIONS = "Tensor? valid, Tensor? position, SymInt window, float scale, bool zero_padding"  # `AttentionOptions`


def local_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None = None,
    position: Tensor | None = None,
    *,
    window: int = 7,
    scale: float = 1.0,
    zero_padding: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """Attention output (B, C, H, W) in dtype and memory format of `query`; sums run in float32 or float64.

    Args:
        query: (B, C, H, W); `key` and `value` have the same shape.
        valid: (B, H, W) bool. Keys at false positions get no weight; None means all are valid.
        position: (window * window,) added to the logits, row by row from the top left; None means zero.
        window: odd side length.
        scale: factor of the products.
        zero_padding: taps beyond the map take part with product and value 0, as in the official code;
            otherwise they get no weight. A pixel without any tap gets 0.
        residual: (B, C, H, W) added to the result, which has the wider type of both.
    """
    options = AttentionOptions(valid, position, window, scale, zero_padding)
    if standard.only:
        attended = tiles.forward(query, key, value, options)
        return attended if residual is None else attended + residual
    out: Tensor = torch.ops.vss.local_attention(query, key, value, *options, residual)
    return out


@torch.library.custom_op(
    "vss::local_attention", mutates_args=(), schema=f"({MAPS}, {OPTIONS}, Tensor? residual=None) -> Tensor"
)
def _forward(query: Tensor, key: Tensor, value: Tensor, *flat: Any) -> Tensor:
    options, residual = _options(flat)
    form = attention_form(query, options.window)
    if form == "triton":
        from src.ops.triton import local_attention as triton_kernel  # kernels load only where they are used

        return triton_kernel.forward(query, key, value, options, residual)
    if form == "cpu":
        from src.ops.cpu import local_attention as cpu_kernel

        found = cpu_kernel.forward(query, key, value, options)
        return found if residual is None else _sum(found, residual)
    found = shifts.forward(query, key, value, options)
    return _like(query, found) if residual is None else _sum(_like(query, found), residual)


def _sum(attended: Tensor, residual: Tensor) -> Tensor:
    return torch.add(attended, residual, out=_empty_like(attended, _dtype(attended, residual)))


@torch.library.custom_op(
    "vss::local_attention_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, {MAPS}, {OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *flat: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    options = AttentionOptions(*flat)
    form = attention_form(query, options.window)
    if form == "triton":
        from src.ops.triton import local_attention as triton_kernel

        return triton_kernel.backward(gradient, query, key, value, options)
    if form == "cpu":
        from src.ops.cpu import local_attention as cpu_kernel

        return cpu_kernel.backward(gradient, query, key, value, options)
    dq, dk, dv, dp = shifts.backward(gradient, query, key, value, options)
    return _like(query, dq), _like(query, dk), _like(query, dv), dp.float()


def _options(flat: tuple[Any, ...]) -> tuple[AttentionOptions, Tensor | None]:
    """Options and residual from an operator's arguments after the maps."""
    known = len(AttentionOptions._fields)
    return AttentionOptions(*flat[:known]), flat[known] if len(flat) > known else None


def _dtype(query: Tensor, residual: Tensor | None) -> torch.dtype:
    return query.dtype if residual is None else torch.promote_types(query.dtype, residual.dtype)


def _like(query: Tensor, x: Tensor) -> Tensor:
    """Copy x to dtype and memory format of `query`, in memory of its own as an operator's output must be."""
    return _empty_like(query, query.dtype).copy_(x)


def _empty_like(query: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(query.shape, dtype=dtype, device=query.device, memory_format=memory_format(query))


def memory_format(x: Tensor) -> torch.memory_format:
    """channels_last only where x is stored so and not contiguous as well."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


@_forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *flat: Any) -> Tensor:
    return _empty_like(query, _dtype(query, _options(flat)[1]))


@_backward.register_fake
def _(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *flat: Any) -> tuple[Tensor, ...]:
    taps = AttentionOptions(*flat).window ** 2
    dq, dk, dv = (_empty_like(query, query.dtype) for _ in range(3))
    return dq, dk, dv, query.new_empty(taps, dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.window, ctx.scale, ctx.zero_padding, residual = inputs
    ctx.residual = None if residual is None else residual.dtype
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, valid, position = ctx.saved_tensors
    options = AttentionOptions(valid, position, ctx.window, ctx.scale, ctx.zero_padding)
    dq, dk, dv, dp = torch.ops.vss.local_attention_backward(gradient, query, key, value, *options)
    d_position = None if position is None else dp.to(position.dtype)
    d_residual = None if ctx.residual is None else gradient.to(ctx.residual)
    return dq, dk, dv, None, d_position, None, None, None, d_residual


_forward.register_autograd(_differentiate, setup_context=_save)


def _products(shape: tuple[int, ...], flat: tuple[Any, ...]) -> int:
    """Multiply-adds of one product per tap and channel of a map (B, C, H, W)."""
    batch, channels, height, width = shape
    return batch * channels * height * width * int(_options(flat)[0].window) ** 2


@register_flop_formula(torch.ops.vss.local_attention)
def _flops(query: tuple[int, ...], key: Any, value: Any, *flat: Any, **_: Any) -> int:
    """FLOPs of <Q, K> and of the weighted sum of V."""
    return 2 * 2 * _products(query, flat)


@register_flop_formula(torch.ops.vss.local_attention_backward)
def _backward_flops(gradient: tuple[int, ...], query: Any, key: Any, value: Any, *flat: Any, **_: Any) -> int:
    """FLOPs of the repeated <Q, K>, of <G, V> and of the three gradients."""
    return 2 * 5 * _products(gradient, flat)
