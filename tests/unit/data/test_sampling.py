"""Draws depend on seed, epoch and position, and on nothing else."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import Dataset

from src.data import sampling
from src.data.module import ResumableData
from src.data.sampling import PADDING, EpochSampler, PaddedDataset, SparingDataset
from src.errors import UserError


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
        monkeypatch.setattr(sampling, "rank_and_world_size", lambda rank=rank: (rank, 3))
        sampler = EpochSampler(20, shuffle, seed=1)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler)
    seen = [draw[0] for part in parts for draw in part if draw != PADDING]
    assert len(seen) == len(set(seen))
    assert {len(part) for part in parts} == {6 if shuffle else 7}
    if not shuffle:
        assert sorted(seen) == list(range(20))


def test_batches_of_processes_together_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, parts = draws(3), []
    for rank in range(2):
        monkeypatch.setattr(sampling, "rank_and_world_size", lambda rank=rank: (rank, 2))
        parts.append(draws(3))
    for step in range(5):
        together = parts[0][2 * step : 2 * step + 2] + parts[1][2 * step : 2 * step + 2]
        assert sorted(together) == sorted(alone[4 * step : 4 * step + 4])


def test_an_interrupted_epoch_goes_on_where_it_was() -> None:
    sampler = EpochSampler(20, shuffle=True, seed=1)
    sampler.resume_at(4, skip=12)
    assert list(sampler) == draws(4)[12:]
    sampler.set_epoch(5)
    assert list(sampler) == draws(5)


def test_groups_are_drawn_equally_often() -> None:
    groups = [1] * 90 + [2] * 7 + [3] * 3
    sampler = EpochSampler(50, shuffle=True, seed=0, groups=groups)
    drawn = [index for index, _ in sampler]
    assert sorted(Counter(groups[index] for index in drawn).values()) == [16, 17, 17]
    rare = Counter(index for index in drawn if groups[index] == 3)
    assert set(rare) == {97, 98, 99}
    assert max(rare.values()) - min(rare.values()) <= 1, "members of a group take turns"
    assert len({groups[index] for index in drawn[:10]}) == 3, "groups are mixed"


def test_blanks_do_not_count() -> None:
    data = PaddedDataset({0: (5, "road"), (1, 7): (6, "sky")}, lambda item: (item[0], "ignored"))
    assert [data[draw] for draw in ((1, 7), PADDING)] == [(6, "sky"), (5, "ignored")]


@pytest.mark.parametrize(
    ("started", "processed", "draws_left"), [(5, 4, 6), (5, 5, 10)], ids=["within an epoch", "at its end"]
)
def test_data_go_on_where_a_checkpoint_stands(started: int, processed: int, draws_left: int) -> None:
    loop = SimpleNamespace(current=SimpleNamespace(started=started, processed=processed, ready=2))
    saved, resumed = ResumableData(2, 0), ResumableData(2, 0)
    epoch_loop = SimpleNamespace(batch_progress=loop)
    saved.trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_progress=loop, epoch_loop=epoch_loop))
    resumed.load_state_dict(saved.state_dict())
    sampler = resumed.training_sampler(10, batch_size=2, seed=1)
    expected = EpochSampler(10, shuffle=True, seed=1)
    expected.set_epoch(processed)
    assert list(sampler) == list(expected)[-draws_left:]


class Damaged(Dataset[str]):
    """Items that are their names; those of `damaged` cannot be read."""

    def __init__(self, *damaged: int) -> None:
        self.damaged = damaged

    def __len__(self) -> int:
        return 4

    def __getitem__(self, draw: Any) -> str:
        if draw[0] in self.damaged:
            raise UserError(f"{draw[0]} is torn")
        return f"{draw[0]}@{draw[1]}"


def test_damaged_items_are_left_out_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    items = SparingDataset(Damaged(1, 3), "skip")
    for _ in range(2):
        assert [items[index, 7] for index in range(4)] == ["0@7", "2@7", "2@7", "0@7"]
    assert caplog.text.count("left out: 1 is torn") == 1
    marked = SparingDataset(Damaged(1, 3), "skip", lambda item: f"not {item}")
    assert [marked[index, 0] for index in range(4)] == ["0@0", "not 2@0", "2@0", "not 0@0"]
    with pytest.raises(UserError, match="1 is torn"):
        SparingDataset(Damaged(1), "stop")[1, 0]
    with pytest.raises(UserError, match="no image is left"):
        SparingDataset(Damaged(0, 1, 2, 3), "skip")[1, 0]
