"""Draws depend on seed, epoch and position, and on nothing else."""

import pytest

from src.data import sampling
from src.data.sampling import EpochSampler


def draws(epoch: int, seed: int = 1) -> list[tuple[int, int]]:
    sampler = EpochSampler(20, shuffle=True, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    assert draws(0) == draws(0)
    assert draws(0) != draws(1)
    assert draws(0) != draws(0, seed=2)
    assert sorted(index for index, _ in draws(5)) == list(range(20))
    assert len({seed for _, seed in draws(0)} | {seed for _, seed in draws(1)}) == 40


@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_clips(monkeypatch: pytest.MonkeyPatch, shuffle: bool) -> None:
    parts = []
    for rank in range(3):
        monkeypatch.setattr(sampling, "_process", lambda rank=rank: (rank, 3))
        sampler = EpochSampler(20, shuffle, seed=1)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler)
    seen = [index for part in parts for index, _ in part]
    assert len(seen) == len(set(seen))
    if shuffle:
        assert {len(part) for part in parts} == {6}
    else:
        assert sorted(seen) == list(range(20))
