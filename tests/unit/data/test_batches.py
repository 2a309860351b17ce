"""From loaders to the device: bytes, batches shared by processes, worker processes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from src.data.batch import ClipBatch, Sample, normalise
from src.data.images import Normalisation
from src.data.module import collate
from src.data.sharing import MOST_WORKERS, check_workers, share_of_batch, worker_count
from src.data.transforms import to_tensors
from src.errors import UserError

NORMAL = Normalisation.of([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])


def loaded(frames: int, moves: bool, height: int = 12, width: int = 16) -> tuple[ClipBatch, list[Sample]]:
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            rng.integers(0, 256, (frames, height, width, 3), np.uint8),
            rng.integers(0, 256, (height, width), np.uint8),
            moves * rng.normal(0, 9, (2, height, width)).astype(np.float32),
            rng.random((height, width)) < 0.5,
            3,
            "a",
        )
        for _ in range(2)
    ]
    return collate([to_tensors(sample) for sample in samples]), samples


def size(batch: ClipBatch) -> int:
    values = (getattr(batch, field.name) for field in dataclasses.fields(batch))
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


@pytest.mark.parametrize(("frames", "moves"), [(2, True), (2, False), (1, False)])
def test_a_batch_is_the_same_wherever_it_is_normalised(frames: int, moves: bool) -> None:
    batch, samples = loaded(frames, moves)
    ready = batch.ready(NORMAL)
    for k, sample in enumerate(samples):
        image = normalise(torch.from_numpy(sample.frames).permute(0, 3, 1, 2), NORMAL)
        assert torch.equal(ready.frames[k], image)
        assert torch.equal(ready.labels[k], torch.from_numpy(sample.labels).long())
        assert torch.equal(ready.motion[k], torch.from_numpy(sample.motion))
        assert torch.equal(ready.motion_valid[k], torch.from_numpy(sample.motion_valid))
    assert ready.motion.is_contiguous()


def test_a_third_of_the_bytes_is_copied() -> None:
    for frames, moves, share in ((2, True, 0.4), (1, False, 0.2)):
        batch, _ = loaded(frames, moves, 96, 128)
        assert size(batch) < share * size(batch.ready(NORMAL))


def test_a_joint_batch_is_shared_evenly() -> None:
    assert share_of_batch(8, 4) == 2
    with pytest.raises(UserError, match=r"data\.batch_size=8 is the joint batch of all 3 processes.*multiple of 3"):
        share_of_batch(8, 3)


def test_workers_follow_the_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr("src.data.sharing.CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(24)), raising=False)
    assert [worker_count("auto", n) for n in (1, 4, 48)] == [MOST_WORKERS, 6, 1]
    assert worker_count(3, 4) == 3
    for content, expected in (("150000 100000\n", 2), ("max 100000\n", MOST_WORKERS)):
        (tmp_path / "cpu.max").write_text(content)
        assert worker_count("auto") == expected
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    assert worker_count("auto", 4) == 5, "SLURM counts for each process"
    for wrong in (-1, "many"):
        with pytest.raises(UserError, match=r"data\.workers"):
            check_workers(wrong)
