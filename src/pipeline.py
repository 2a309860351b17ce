"""Stages of work that overlap: threads with bounded queues between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Channel(Generic[Item]):
    """A bounded queue from one thread to another, which either of them can close.

    Args:
        size: items that may wait in it.
    """

    def __init__(self, size: int) -> None:
        self._items: deque[Item] = deque()
        self._size, self._changed = size, Condition()
        self._ended = self._closed = False
        self.error: BaseException | None = None  # that ended one of both sides

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Add an item once there is room; return false where the receiver takes no more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._size or self._closed)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def end(self, error: BaseException | None = None) -> None:
        """Say that no item follows; the receiver gets those that wait, and then the error."""
        with self._changed:
            self._ended, self.error = True, error
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """Take no more items, and drop those that wait."""
        with self._changed:
            self._closed, self.error = True, self.error or error
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended or self._closed)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item  # while waiting for the next, one more would be held
        if self.error is not None and not self._closed:
            raise self.error


def run_ahead(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Yield items that a thread makes, up to `size` of them ahead; 0 makes each when it is asked for, without a thread.

    What the thread raises is raised after the items before it. The thread ends with the generator, after the item that
    it is at.
    """
    if not size:
        yield from items
        return
    channel: Channel[Item] = Channel(size)
    thread = Thread(target=_make, args=(items, channel), daemon=True)
    thread.start()
    try:
        yield from channel
    finally:
        channel.close()
        thread.join()


def _make(items: Iterable[Item], channel: Channel[Item]) -> None:
    try:
        for item in items:
            if not channel.put(item):
                return
            del item
        channel.end()
    except BaseException as error:  # raised where the items are used
        channel.end(error)


class Consumer(Generic[Item]):
    """Pass items to a function in a thread, in order; the end of the context waits for all of them.

    What the function raises is raised by the next `put` or at the end. Where the context ends with an error, items that
    wait are dropped.

    Args:
        consume: called with each item.
        size: items that may wait; 0 calls the function in `put`, without a thread.
    """

    def __init__(self, consume: Callable[[Item], None], size: int) -> None:
        self._consume, self._channel = consume, Channel[Item](size)
        self._thread = Thread(target=self._run, daemon=True) if size else None

    def put(self, item: Item) -> None:
        """Hand over the next item."""
        if self._thread is None:
            self._consume(item)
        elif not self._channel.put(item) and self._channel.error is not None:
            raise self._channel.error

    def _run(self) -> None:
        try:
            for item in self._channel:
                self._consume(item)
                del item
        except BaseException as error:  # raised where items are handed over
            self._channel.close(error)

    def __enter__(self) -> Consumer[Item]:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        if kind is None:
            self._channel.end(self._channel.error)
        else:
            self._channel.close()
        self._thread.join()
        if kind is None and self._channel.error is not None:
            raise self._channel.error
