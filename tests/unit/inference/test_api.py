"""The Python interface: a checkpoint and a video in, labels out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.errors import UserError
from src.inference.api import FrameInput, load_segmenter
from tests.support.tiny_runner import AR, CLASSES, STATE, TRAINING_GOP, exact_film, save_checkpoint


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return exact_film(tmp_path_factory.mktemp("video") / "video.mp4", 8, gop=8)


def test_each_frame_has_labels_and_keyframes_follow_the_training_gop(video, tmp_path):
    segmenter = load_segmenter(save_checkpoint(tmp_path / "net.ckpt", AR), device="cpu", threads=1)
    frames = list(segmenter.run(str(video)))
    assert [frame.is_key for frame in frames] == [index % TRAINING_GOP == 0 for index in range(8)]
    assert all(frame.labels.shape == (48, 64) and frame.labels.max() < len(CLASSES) for frame in frames)
    assert segmenter.classes.colour(frames[0].labels).shape == (48, 64, 3)
    assert [frame.is_key for frame in segmenter.run(video, max_gop=3)] == [n % 3 == 0 for n in range(8)]


def test_two_videos_side_by_side_do_not_mix(video, tmp_path):
    segmenter = load_segmenter(save_checkpoint(tmp_path / "net.ckpt", AR), device="cpu", threads=1)
    alone = [frame.labels for frame in segmenter.run(video)]
    for number, pair in enumerate(zip(segmenter.run(video), segmenter.run(video, max_gop=2), strict=True)):
        assert np.array_equal(pair[0].labels, alone[number])


def test_methods_without_motion_read_none(video, tmp_path):
    segmenter = load_segmenter(save_checkpoint(tmp_path / "net.ckpt", STATE), device="cpu", threads=1)
    assert segmenter.open(video).info.motion == "none"
    with pytest.raises(UserError, match="device=cud"):
        load_segmenter(tmp_path / "net.ckpt", device="cud")


@torch.inference_mode()
def test_batches_of_normalised_images_go_through_the_network(tmp_path):
    segmenter = load_segmenter(save_checkpoint(tmp_path / "net.ckpt", AR), device="cpu", threads=1)
    images = torch.randn(3, 3, 48, 64)
    logits, state = segmenter.network.step(FrameInput(images), segmenter.network.init_state())
    assert logits.shape == (3, len(CLASSES), 48, 64)
    again, _ = segmenter.network.step(FrameInput(images, torch.zeros(3, 2, 48, 64)), state)
    assert again.shape == logits.shape
