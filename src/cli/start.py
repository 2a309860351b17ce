"""Commands from their first moment to their last: a signal or a machine that gives out is answered by one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from src.cli.ending import answers_signals

if TYPE_CHECKING:
    from src.cli.entry import Task


def entry_point(name: str) -> Callable[[Task], Callable[[], None]]:
    """Turn a task into a command that reads its configuration `conf/NAME.yaml` and the command line.

    Exit status 2 after bad input, 128 and its number after a signal.
    """

    def command(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            with answers_signals():
                from src.cli.entry import run  # imported here: it takes a second, in which a signal may come

                run(name, task)

        return main

    return command
