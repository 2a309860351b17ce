from __future__ import annotations

import dataclasses
import itertools
import weakref
from itertools import islice

import numpy as np
import pytest
import torch

from src.checkpoints.load import load_checkpoint
from src.data.batch import Sample
from src.data.transforms import FitSize
from src.inference.keyframes import KeyedMotion
from src.inference.runner import runner_of
from src.inference.segment import segment
from src.models.video import FrameInput
from src.ops.resize import downscale, resize
from src.video.motion.field import MotionChain
from src.video.reading.decode import Video
from tests.support.tiny_runner import AR, IMAGE, MEAN, STATE, STD, exact_film, save_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Of an odd size, with I frames at 0, 6 and 12."""
    return exact_film(tmp_path_factory.mktemp("film") / "film.mp4", 14, gop=6, height=45, width=67)


def load(tmp_path, node):
    return load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", node))


def tensor(image):
    picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return (picture - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def at_half(net, image):
    return resize(net(downscale(image, 0.5)), (image.shape[-2], image.shape[-1]))


def labels_of(logits):
    return logits.argmax(1)[0].numpy().astype(np.uint8)


def assert_same_labels(found, expected):
    """Up to ties of two classes, which another memory format may break the other way."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one == other).mean() > 0.998


@torch.inference_mode()
def test_arseg_equals_its_parts_run_by_hand(film, tmp_path):
    loaded = load(tmp_path, AR)
    net, chain, expected = loaded.network, MotionChain(), []
    for frame in Video(film, motion="exact"):
        is_key = frame.index in (0, 4, 6, 10, 12)
        if is_key:
            chain.reset()
        motion = chain.update(frame)
        if is_key:
            logits, features = net.key(tensor(frame.image))
        else:
            low = downscale(tensor(frame.image), net.scale)
            field, valid = torch.from_numpy(motion.field)[None], torch.from_numpy(motion.valid)[None]
            logits = net.nonkey(low, features, field, valid)
        expected.append(labels_of(logits))
    results = list(segment(Video(film, motion="exact"), runner_of(loaded, CPU), KeyedMotion(4)))
    assert [r.frame.index for r in results if r.is_key] == [0, 4, 6, 10, 12]
    assert_same_labels([r.labels for r in results], expected)


@torch.inference_mode()
def test_image_network_sees_each_frame_alone_at_its_scale(film, tmp_path):
    loaded = load(tmp_path, IMAGE)
    results = list(segment(Video(film, motion="none"), runner_of(loaded, CPU), KeyedMotion(4)))
    expected = [labels_of(at_half(loaded.network.net, tensor(f.image))) for f in Video(film, motion="none")]
    assert all(r.is_key and r.milliseconds.motion < 1 for r in results)
    assert_same_labels([r.labels for r in results], expected)


@torch.inference_mode()
def test_a_network_trained_at_a_fitted_size_sees_that_size_and_answers_at_the_films(film, tmp_path):
    fit = {"short": 90, "long": 100}
    loaded = load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", AR, fit=fit))
    net, chain, features, expected = loaded.network, MotionChain(), None, []
    for frame in islice(Video(film, motion="exact"), 6):
        motion = chain.update(frame)
        sample = FitSize(90, 100)(Sample(frame.image[None], frame.image[..., 0], motion.field, motion.valid, 0, ""))
        image = tensor(sample.frames[0])
        assert image.shape[2:] == (67, 100)
        if frame.index == 0:
            logits, features = net.key(image)
        else:
            field, valid = torch.from_numpy(sample.motion)[None], torch.from_numpy(sample.motion_valid)[None]
            logits = net.nonkey(downscale(image, net.scale), features, field, valid)
        expected.append(labels_of(resize(logits, (45, 67))))
    results = list(islice(segment(Video(film, motion="exact"), runner_of(loaded, CPU), KeyedMotion(6)), 6))
    assert_same_labels([r.labels for r in results], expected)


@torch.inference_mode()
def test_state_is_carried_from_frame_to_frame(film, tmp_path):
    loaded = load(tmp_path, STATE)
    state, expected = loaded.network.init_state(), []
    for frame in Video(film, motion="none"):
        logits, state = loaded.network.step(FrameInput(tensor(frame.image)), state)
        expected.append(labels_of(logits))
    results = segment(Video(film, motion="none"), runner_of(loaded, CPU), KeyedMotion(4))
    assert_same_labels([r.labels for r in results], expected)


def test_endless_film_needs_the_memory_of_one_frame(film, tmp_path):
    network = runner_of(load(tmp_path, AR), CPU)
    recorded = list(Video(film, motion="exact"))
    images = []

    def endless():
        for frame in itertools.cycle(recorded):
            copy = dataclasses.replace(frame, image=frame.image.copy())
            images.append(weakref.ref(copy.image))
            yield copy

    results = segment(endless(), network, KeyedMotion(4))
    for count in range(1, 41):
        next(results)
        assert len(images) == count
        assert sum(image() is not None for image in images) <= 1


@pytest.mark.parametrize("node", [AR, STATE])
def test_decoding_ahead_changes_no_label(film, tmp_path, node):
    runner = runner_of(load(tmp_path, node), CPU)
    alone, ahead = (list(segment(Video(film, "estimate"), runner, KeyedMotion(4), ahead)) for ahead in (0, 3))
    assert [r.frame.index for r in alone] == [r.frame.index for r in ahead] == list(range(14))
    assert [r.is_key for r in alone] == [r.is_key for r in ahead]
    assert all(np.array_equal(one.labels, other.labels) for one, other in zip(alone, ahead, strict=True))
