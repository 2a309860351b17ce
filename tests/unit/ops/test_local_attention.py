"""The operator's two forms against a plain reference: values, gradients, formats, export and counting."""

from __future__ import annotations

import math
import multiprocessing

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from src.ops.local_attention import local_attention

LAST, FIRST = torch.channels_last, torch.contiguous_format


def reference(q, k, v, valid, position, window, scale, zero_padding):
    """Unfold, one pixel at a time conceptually; -inf for taps that take no part."""
    b, c, h, w = q.shape
    k, v = (F.unfold(x, window, padding=window // 2).view(b, c, -1, h * w) for x in (k, v))
    logits = scale * torch.einsum("bcp,bctp->btp", q.flatten(2), k)
    if position is not None:
        logits = logits + position.view(1, -1, 1)
    inside = torch.ones_like(q[:, :1]) if valid is None else valid[:, None].to(q.dtype)
    padded = F.pad(inside, (window // 2,) * 4, value=float(zero_padding))
    excluded = F.unfold(padded, window) == 0
    weights = logits.masked_fill(excluded, -math.inf).softmax(1).nan_to_num(0.0)
    return torch.einsum("btp,bctp->bcp", weights, v).view(b, c, h, w)


def inputs(shape, dtype=torch.float32, memory=FIRST, masked=True, placed=True, window=7):
    generator = torch.Generator().manual_seed(3)
    b, _, h, w = shape
    q, k, v, g = (torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=memory) for _ in range(4))
    valid = torch.rand(b, h, w, generator=generator) < 0.6 if masked else None
    if valid is not None and w > 9:
        valid[..., w // 2 :] = False  # leaves pixels without any neighbour
    position = torch.randn(window * window, generator=generator).to(dtype) if placed else None
    return (q, k, v), valid, position, g


def run(function, tensors, position, gradient):
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    place = None if position is None else position.detach().clone().requires_grad_()
    out = function(*leaves, place)
    leaves += [] if place is None else [place]
    return [out, *torch.autograd.grad(out, leaves, gradient)]


CASES = [
    # shape, memory format, masked, position, zero padding
    ((2, 64, 17, 30), LAST, True, True, False),
    ((1, 70, 9, 70), FIRST, True, False, False),
    ((2, 130, 8, 40), LAST, False, True, True),
    ((1, 3, 3, 2), FIRST, False, False, True),
    ((1, 5, 1, 11), FIRST, True, True, False),
]


@pytest.mark.parametrize(("shape", "memory", "masked", "placed", "zero_padding"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["kernel", "shifts"])
def test_equals_unfold_forward_and_backward(dtype, shape, memory, masked, placed, zero_padding):
    tensors, valid, position, gradient = inputs(shape, dtype, memory, masked, placed)
    scale = shape[1] ** -0.5

    def ours(q, k, v, p):
        return local_attention(q, k, v, valid, p, scale=scale, zero_padding=zero_padding)

    def plain(q, k, v, p):
        return reference(q, k, v, valid, p, 7, scale, zero_padding)

    found = run(ours, tensors, position, gradient)
    doubles = [t.double() for t in tensors], None if position is None else position.double()
    expected = run(plain, *doubles, gradient.double())
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)
    assert found[0].is_contiguous(memory_format=memory)


@pytest.mark.parametrize("window", [1, 3, 11])
def test_other_windows(window):
    tensors, valid, position, _ = inputs((1, 4, 6, 13), window=window)
    found = local_attention(*tensors, valid, position, window=window)
    expected = reference(*tensors, valid, position, window, 1.0, False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gradients_against_finite_differences():
    tensors, valid, position, _ = inputs((1, 2, 4, 5), torch.float64)
    leaves = [t.requires_grad_() for t in (*tensors, position)]
    assert torch.autograd.gradcheck(
        lambda q, k, v, p: local_attention(q, k, v, valid, p, scale=0.7), leaves, fast_mode=True
    )


def test_without_a_valid_neighbour_the_output_is_zero_and_sends_no_gradient():
    (q, k, v), valid, _, _ = inputs((1, 8, 6, 30))
    v.requires_grad_()
    out = local_attention(q, k, v, valid)
    assert not out[..., 15 + 3 :].any()
    (gradient,) = torch.autograd.grad(out.sum(), v)
    assert not gradient[..., 15:].any()
    assert gradient[..., :15].any()


def test_huge_logits_do_not_overflow():
    (q, k, v), *_ = inputs((1, 16, 8, 9), masked=False, placed=False)
    out = local_attention(300 * q, 300 * k, v)
    expected = reference(300 * q.double(), 300 * k.double(), v.double(), None, None, 7, 1.0, False)
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_float32(dtype):
    tensors, valid, _, gradient = inputs((1, 8, 5, 9), dtype, placed=False)
    found = run(lambda q, k, v, _: local_attention(q, k, v, valid), tensors, None, gradient)
    wide = [t.float() for t in tensors]
    expected = run(lambda q, k, v, _: local_attention(q, k, v, valid), wide, None, gradient.float())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.to(dtype))


def test_thread_counts_agree_exactly():
    tensors, valid, position, gradient = inputs((2, 20, 33, 50))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(run(lambda q, k, v, p: local_attention(q, k, v, valid, p), tensors, position, gradient))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def _sum_in_child(queue):
    (q, k, v), *_ = inputs((1, 8, 9, 40))
    queue.put(float(local_attention(q, k, v).double().sum()))


def test_runs_in_a_process_forked_after_the_first_call():
    (q, k, v), *_ = inputs((1, 8, 9, 40))
    here = float(local_attention(q, k, v).double().sum())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sum_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == pytest.approx(here)
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("memory", [LAST, FIRST])
def test_operator_contract(memory):
    """Schema, fake kernel (shapes, strides, dtypes) and autograd registration, as torch checks them."""
    tensors, valid, position, _ = inputs((1, 3, 4, 9), memory=memory)
    leaves = [t.requires_grad_() for t in tensors]
    arguments = (*leaves, valid, position.requires_grad_(), 7, 0.5, False)
    torch.library.opcheck(torch.ops.vss.local_attention.default, arguments)


def test_counted_as_two_products_per_tap_and_channel():
    tensors, *_ = inputs((2, 6, 5, 8))
    leaves = [t.requires_grad_() for t in tensors]
    with FlopCounterMode(display=False) as counter:
        out = local_attention(*leaves)
    products = 2 * 6 * 5 * 8 * 49
    assert counter.get_total_flops() == 2 * 2 * products
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * 5 * products
