"""Frames between two keyframes, seen from both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.errors import UserError
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner, runner_of
from src.inference.segment import Segmented, segment
from src.inference.streams import Stream
from src.inference.two_sided import _motion_to, segment_each_two_sided, segment_two_sided
from src.models.two_sided import Side, coarse_between
from src.models.video import FrameInput
from src.ops.warp import warp
from src.video.reading.decode import Video
from src.video.types import Frame, MotionField
from tests.support.tiny_arseg import pair, tiny_arseg
from tests.support.tiny_runner import AR, exact_film, save_checkpoint

LENGTH, GOP = 22, 8


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exact_film(tmp_path_factory.mktemp("video") / "video.mp4", LENGTH, GOP, height=96, width=128)


@pytest.fixture
def runner(tmp_path: Path) -> FrameRunner:
    return runner_of(load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", AR)), torch.device("cpu"))


def sides(change: Callable[[list[Side]], list[Side]] = lambda found: found) -> tuple[torch.Tensor, ...]:
    """Probabilities from both sides, and from each of them alone."""
    net = tiny_arseg().eval()
    key, image, motion, valid = pair()
    grey = torch.full((2, 1, *image.shape[-2:]), 0.5)
    states = [net.step(FrameInput(frame), net.init_state())[1] for frame in (key, image.flip(-1))]
    found = change([Side(FrameInput(image, motion, valid), state, grey, 0.5) for state in states])
    both = coarse_between(net, grey, found).logits
    return both, *(net.coarse(s.frame._replace(warp_only=True), s.state)[0].logits.softmax(1) for s in found)


@torch.inference_mode()
def test_two_equal_witnesses_are_averaged() -> None:
    both, one, other = sides()
    torch.testing.assert_close(both, (one + other) / 2)


@torch.inference_mode()
def test_a_side_without_valid_motion_says_nothing() -> None:
    def hide(found: list[Side]) -> list[Side]:
        frame = found[1].frame
        assert frame.motion_valid is not None
        nothing, everything = torch.zeros_like(frame.motion_valid), torch.ones_like(frame.motion_valid)
        seen = found[0]._replace(frame=frame._replace(motion_valid=everything))
        return [seen, found[1]._replace(frame=frame._replace(motion_valid=nothing))]

    both, one, _ = sides(hide)
    torch.testing.assert_close(both, one, atol=1e-3, rtol=0)


@torch.inference_mode()
def test_a_side_that_looks_different_says_nothing() -> None:
    both, one, _ = sides(lambda found: [found[0], found[1]._replace(brightness=found[1].brightness + 0.45)])
    torch.testing.assert_close(both, one, atol=2e-3, rtol=0)


@torch.inference_mode()
def test_the_nearer_side_counts_more() -> None:
    both, one, other = sides(lambda found: [found[0]._replace(nearness=0.9), found[1]._replace(nearness=0.1)])
    torch.testing.assert_close(both, 0.9 * one + 0.1 * other)


def error(frame: Frame, key: Frame, motion: MotionField) -> float:
    tensors = [torch.from_numpy(x.image).permute(2, 0, 1)[None].float() for x in (frame, key)]
    field, valid = torch.from_numpy(motion.field)[None], torch.from_numpy(motion.valid)[None]
    moved, known = warp(tensors[1], field, valid)
    return float((moved - tensors[0]).abs().mean(1)[known].mean())


def test_motion_to_a_later_keyframe_leads_there(video: Path) -> None:
    frames = list(Video(video, motion="none"))
    key, before = frames[GOP], frames[1:GOP]
    found = list(_motion_to(key, before[::-1]))
    assert len(found) == GOP - 1
    still = MotionField(np.zeros((2, 96, 128), np.float32), np.ones((96, 128), bool))
    for frame, motion in zip(before[::-1], found, strict=True):
        assert error(frame, key, motion) < 0.5 * error(frame, key, still), frame.index
        assert motion.valid.mean() > 0.5


def segmented(video: Path, runner: FrameRunner) -> tuple[list[Segmented], list[Segmented]]:
    """By both sides, and by the past alone."""
    return (
        list(segment_two_sided(Video(video), runner, KeyedMotion(GOP))),
        list(segment(Video(video), runner, KeyedMotion(GOP))),
    )


def test_frames_come_in_order_and_what_has_one_side_is_as_it_was(video: Path, runner: FrameRunner) -> None:
    both, past = segmented(video, runner)
    assert [r.frame.index for r in both] == list(range(LENGTH))
    assert [r.is_key for r in both] == [n % GOP == 0 for n in range(LENGTH)]
    last = LENGTH - LENGTH % GOP
    for n, (one, other) in enumerate(zip(both, past, strict=True)):
        if n % GOP == 0 or n > last:
            assert np.array_equal(one.labels, other.labels), n
            assert one.warp_only == other.warp_only
        else:
            assert one.warp_only
    assert any(not np.array_equal(one.labels, other.labels) for one, other in zip(both, past, strict=True))


def test_a_frame_is_labelled_by_the_keyframe_that_shows_it(runner: FrameRunner) -> None:
    rng = np.random.default_rng(0)
    dark, light = (
        np.repeat(np.repeat(rng.integers(low, low + 90, (12, 16, 3), np.uint8), 8, 0), 8, 1) for low in (0, 160)
    )
    still = np.array([[0, 0, 128, 96, 0, 0]], np.float32)  # what a codec may say of a change that it coded as residual
    frames = [
        Frame(
            dark if n < 4 else light, "I" if n % GOP == 0 else "P", None if n % GOP == 0 else still, Fraction(n, 25), n
        )
        for n in range(GOP + 1)
    ]
    found = [r.labels for r in segment_two_sided(frames, runner, KeyedMotion(GOP))]
    past = [r.labels for r in segment(frames, runner, KeyedMotion(GOP))]
    for n in range(GOP):
        assert np.mean(found[n] != found[0 if n < 4 else GOP]) < 0.02, n
    assert np.mean(past[GOP - 1] != past[GOP]) > 0.1


def test_a_video_of_one_keyframe_is_labelled_from_it(video: Path, runner: FrameRunner) -> None:
    found = list(segment_two_sided(Video(video), runner, KeyedMotion(100, all_intra=True)))
    assert [r.is_key for r in found].count(True) >= 1
    assert len(found) == LENGTH


def test_a_stream_that_fails_is_ended_with_the_error_and_the_next_is_done(video: Path, runner: FrameRunner) -> None:
    ends: list[Exception | None] = []
    counted: list[int] = []

    def broken(result: Segmented) -> None:
        raise UserError("the disk is full; make room")

    streams = [
        Stream(Video(video), KeyedMotion(GOP), put, ends.append)
        for put in (broken, lambda result: counted.append(result.frame.index))
    ]
    segment_each_two_sided(iter(streams), runner, 2)
    assert isinstance(ends[0], UserError)
    assert ends[1] is None
    assert counted == list(range(LENGTH))


def test_a_change_of_size_ends_what_can_be_seen_from_both_sides(video: Path, runner: FrameRunner) -> None:
    frames = list(Video(video))[: GOP + 1]
    smaller = replace(frames[-1], image=np.ascontiguousarray(frames[-1].image[:48, :64]))
    found = list(segment_two_sided([*frames[:-1], smaller], runner, KeyedMotion(GOP)))
    assert [r.labels.shape for r in found] == [(96, 128)] * GOP + [(48, 64)]
