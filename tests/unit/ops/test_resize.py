"""Resampling kernels against torch's, and when they are used."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from src.ops import cpu as kernels
from src.ops import resize as resize_module
from src.ops.cpu import resize as resampling
from src.ops.cpu import threads as cpu
from src.ops.local_attention import local_attention
from src.ops.resize import downscale, labels_of, resize
from src.ops.warp import motion_at


def picture(channels, height, width, batch=2):
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("channels", [1, 11, 35])
@pytest.mark.parametrize(
    ("size", "target"), [((7, 9), (15, 20)), ((5, 8), (80, 64)), ((2, 3), (4, 3)), ((2, 2), (2, 9))]
)
def test_enlarging_equals_torch(size, target, channels, align_corners):
    x = picture(channels, *size)
    expected = F.interpolate(x, size=target, mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(resampling.upsample(x, target, align_corners), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("classes", [2, 19, 40])
@torch.no_grad()
def test_labels_are_those_of_the_resized_logits_and_the_lowest_class_in_ties(classes, align_corners):
    drawn = picture(classes, 37, 50)
    for logits in (drawn, drawn.round(), drawn.contiguous(memory_format=torch.channels_last), torch.zeros_like(drawn)):
        large = resampling.upsample(logits, (296, 401), align_corners)
        labels = resampling.labels(logits, (296, 401), align_corners)
        assert labels.dtype == torch.uint8
        assert torch.equal(labels.long(), large.argmax(1))


@torch.no_grad()
def test_labels_need_no_large_logits(monkeypatch):
    logits, size = picture(5, 40, 50, batch=1), (320, 400)
    expected = resize(logits, size).argmax(1).to(torch.uint8)
    assert torch.equal(labels_of(logits, (20, 30)), resize(logits, (20, 30)).argmax(1).to(torch.uint8))
    monkeypatch.setattr(resize_module, "resize", None)
    assert torch.equal(labels_of(logits, size), expected)
    narrow = logits.bfloat16()
    assert torch.equal(labels_of(narrow, size), labels_of(narrow.float(), size))


@torch.no_grad()
def test_bfloat16_is_resized_in_float32_and_rounded_to_the_nearest():
    x, motion, valid = picture(11, 40, 50), picture(2, 24, 36), picture(1, 24, 36)[:, 0] > 0
    x[0, 0, 0, 0], x[0, 1, 5, 5] = float("inf"), float("nan")
    narrow = x.bfloat16()
    for found, expected in (
        (resize(narrow, (320, 400)), resize(narrow.float(), (320, 400))),
        (downscale(narrow, 0.3), downscale(narrow.float(), 0.3)),
    ):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected.bfloat16(), rtol=0, atol=0, equal_nan=True)
    found, expected = (motion_at((6, 9), m, valid) for m in (motion.bfloat16(), motion.bfloat16().float()))
    assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize(
    ("size", "target"),
    [((36, 52), (18, 26)), ((37, 51), (11, 15)), ((40, 40), (36, 30)), ((70, 9), (8, 8)), ((5, 6), (1, 1))],
)
def test_reducing_equals_torch(size, target):
    x = picture(3, *size)
    expected = F.interpolate(x, size=target, mode="bilinear", antialias=True)
    torch.testing.assert_close(resampling.downsample(x, target), expected, atol=2e-5, rtol=1e-5)


def test_large_logits_and_pictures_take_the_kernels_in_inference_only(monkeypatch):
    used = []
    for name in ("upsample", "downsample"):
        kernel = getattr(resampling, name)
        monkeypatch.setattr(resampling, name, lambda *a, name=name, kernel=kernel: used.append(name) or kernel(*a))
    logits = picture(5, 40, 50, batch=1)
    found = {}
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found[grad] = resize(logits, (320, 400)), downscale(logits, 0.3)
            resize(logits, (41, 50))  # small: threads cost more than they save
    assert used == ["upsample", "downsample"]
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_one_switch_turns_all_kernels_off(monkeypatch):
    monkeypatch.setattr(kernels, "enabled", False)
    for name in ("upsample", "downsample", "average_pool"):
        monkeypatch.delattr(resampling, name)
    monkeypatch.delattr("src.ops.cpu.local_attention.forward")
    logits, motion = picture(5, 40, 50, batch=1), picture(2, 24, 36)
    expected = F.interpolate(logits, size=(320, 400), mode="bilinear")
    assert torch.equal(resize(logits, (320, 400)), expected)
    assert downscale(logits, 0.3).shape == (1, 5, 12, 15)
    assert motion_at((6, 9), motion, None)[0].shape == (2, 2, 6, 9)
    assert local_attention(logits, logits, logits).shape == logits.shape


@pytest.mark.parametrize(
    ("size", "target"), [((24, 36), (6, 9)), ((25, 38), (6, 9)), ((7, 9), (3, 4)), ((5, 5), (9, 5))]
)
def test_averaged_motion_equals_torch(size, target):
    motion, valid = 5 * picture(2, *size), picture(1, *size)[:, 0] > 0
    valid[:, : size[0] // 2] = False
    expected = motion_at(target, motion.requires_grad_(), valid)
    with torch.no_grad():
        found = motion_at(target, motion, valid)
    torch.testing.assert_close(found[0], expected[0].detach(), atol=1e-5, rtol=1e-5)
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("team", [True, False])
def test_threads_share_all_parts_once_and_pass_errors_on(team, monkeypatch):
    if not team:
        monkeypatch.setattr(cpu, "_openmp", lambda: None)
    before, parts, seen = torch.get_num_threads(), torch.arange(7).numpy(), []
    torch.set_num_threads(3)
    try:
        cpu.parallel_for(lambda some: seen.extend(some.tolist()), parts)
        with pytest.raises(ZeroDivisionError):
            cpu.parallel_for(lambda some: 1 / 0, parts)
    finally:
        torch.set_num_threads(before)
    assert sorted(seen) == list(range(7))
