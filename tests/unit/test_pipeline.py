from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice

import pytest

from src.pipeline import Consumer, Feed


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Source:
    """Numbers, and how many of them were made."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.made, self.fails_at = 0, fails_at
        self.waits = threading.Semaphore(0)

    def __iter__(self) -> Iterator[int]:
        while True:
            if self.made == self.fails_at:
                raise ValueError("bad number")
            self.made += 1
            self.waits.release()
            yield self.made - 1


def hand_over(items: Iterable[int], consumer: Consumer[int]) -> None:
    with consumer:
        for item in items:
            consumer.put(item)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_items_keep_their_order(size: int) -> None:
    assert list(Feed(range(50), size)) == list(range(50))
    taken: list[int] = []
    hand_over(range(50), Consumer(taken.append, size))
    assert taken == list(range(50))


def test_no_more_items_are_made_ahead_than_asked_for() -> None:
    source = Source()
    with closing(Feed(source, 3)) as items:
        assert next(items) == 0
        for _ in range(5):  # the one taken, three that wait, one that waits for room
            source.waits.acquire()
        assert source.made == 5
    assert source.made == 5
    assert next(Feed(one := Source(), 0)) == 0
    assert one.made == 1


@pytest.mark.parametrize("size", [0, 1, 3])
def test_an_error_comes_after_the_items_before_it(size: int) -> None:
    items = Feed(Source(fails_at=4), size)
    assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="bad number"):
        next(items)


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 100], ids=["at the end", "while items are made"])
def test_the_error_of_a_consumer_is_raised_where_items_are_made(size: int, count: int) -> None:
    taken = []

    def take(item: int) -> None:
        taken.append(item)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        hand_over(range(count), Consumer(take, size))
    assert taken == [0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_between_the_stages_ends_both(error: type[BaseException]) -> None:
    source, taken = Source(), list[int]()

    def middle() -> Iterator[int]:
        with closing(Feed(source, 2)) as items:
            yield from islice(items, 6)
            raise error

    with pytest.raises(error):
        hand_over(middle(), Consumer(taken.append, 2))
    assert taken == list(range(len(taken)))
    assert source.made <= 9
