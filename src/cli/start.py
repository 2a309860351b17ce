"""Commands from their first moment to their last: a signal or a machine that gives out is answered by one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from src.cli.ending import end_with, is_first_process
from src.interruption import Interruption, defer_signals, watch_signals

if TYPE_CHECKING:
    from src.cli.entry import Task


def entry_point(name: str) -> Callable[[Task], Callable[[], None]]:
    """Turn a task into a command that reads its configuration `conf/NAME.yaml` and the command line.

    Exit status 2 after bad input, 128 and its number after a signal.
    """

    def command(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            watch_signals()
            try:
                from src.cli.entry import run  # imported here: it takes a second, in which a signal may come

                run(name, task)
            except Interruption as error:
                if not is_first_process():
                    raise
                notes = getattr(error, "__notes__", ["start it again"])
                end_with(f"interrupted by {error.signal}: {'; '.join(notes)}", int(str(error.code)))
            finally:
                defer_signals("the last files to be closed")

        return main

    return command
