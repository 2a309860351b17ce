"""Stages of work that overlap: threads with bounded queues between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Channel(Generic[Item]):
    """A bounded queue from one thread to another, which either of them can close.

    Args:
        size: items that may wait in it.
        changed: notified of what comes and goes; several channels may share one, to wait for any of them.
        thin: applied to an item that waits when the next one comes.
    """

    def __init__(self, size: int, changed: Condition | None = None, thin: Callable[[Item], Item] | None = None) -> None:
        self._thin = thin
        self._items: deque[Item] = deque()
        self._size, self._changed = size, changed or Condition()
        self._ended = self._closed = False
        self.error: BaseException | None = None  # that ended one of both sides

    def __len__(self) -> int:
        return len(self._items)

    def is_ready(self) -> bool:
        """Return whether the receiver need not wait: for an item or the end."""
        return bool(self._items) or self._ended or self._closed

    def put(self, item: Item) -> bool:
        """Add an item once there is room; return false where the receiver takes no more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._size or self._closed)
            if not self._closed:
                if self._thin is not None and self._items:
                    self._items[-1] = self._thin(self._items[-1])
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def end(self, error: BaseException | None = None) -> None:
        """Say that no item follows; the receiver gets those that wait, and then the error."""
        with self._changed:
            self._ended, self.error = True, self.error or error
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """Take no more items, and drop those that wait."""
        with self._changed:
            self._closed, self.error = True, self.error or error
            self._items.clear()
            self._changed.notify_all()

    def get(self) -> Item:
        """Take the next item once there is one.

        Raises:
            StopIteration: no item follows, as the sender or the receiver has closed.
            BaseException: what ended the sender.
        """
        with self._changed:
            self._changed.wait_for(self.is_ready)
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
        if self.error is not None and not self._closed:
            raise self.error
        raise StopIteration


class Feed(Generic[Item]):
    """An iterator over items that a thread makes ahead; 0 ahead makes each when it is asked for, without a thread.

    What the thread raises is raised after the items before it. Close the feed to end the thread, which finishes the
    item that it is at.

    Args:
        items: made in the thread.
        size: items ahead.
        changed, thin: see `Channel`.
    """

    def __init__(
        self,
        items: Iterable[Item],
        size: int,
        changed: Condition | None = None,
        thin: Callable[[Item], Item] | None = None,
    ) -> None:
        self._items, self._channel = iter(items), Channel[Item](size, changed, thin)
        self._thread = Thread(target=self._make, daemon=True) if size else None
        if self._thread is not None:
            self._thread.start()

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._channel.put(item):
                    return
                del item
            self._channel.end()
        except BaseException as error:  # raised where the items are used
            self._channel.end(error)

    def __iter__(self) -> Feed[Item]:
        return self

    def __next__(self) -> Item:
        return next(self._items) if self._thread is None else self._channel.get()

    def __len__(self) -> int:
        """Return the number of items that wait."""
        return len(self._channel)

    def is_ready(self) -> bool:
        """Return whether the next item or the end is there already, or comes without a thread."""
        return self._thread is None or self._channel.is_ready()

    def close(self, patience: float | None = None) -> None:
        """Drop the items that wait, and wait for the thread; at most `patience` seconds where it may wait for data."""
        self._channel.close()
        if self._thread is not None:
            self._thread.join(patience)
            if self._thread.is_alive():
                return
        if isinstance(self._items, Generator):
            self._items.close()


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
            while True:
                self._consume(self._channel.get())
        except StopIteration:
            pass
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
            self._channel.end()
        else:
            self._channel.close()
        self._thread.join()
        if kind is None and self._channel.error is not None:
            raise self._channel.error
