"""What the libraries of a command may log."""

from __future__ import annotations

import logging

import pytest

from src.cli.entry import hear_only


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_libraries_are_heard_from_warnings_on(level: int) -> None:
    names = ("src.video", "a_lab.nets", "onnxscript.optimizer")
    tops = [logging.getLogger(name.partition(".")[0]) for name in names]
    before = [logger.level for logger in (logging.getLogger(), *tops)]
    try:
        logging.getLogger().setLevel(level)
        for logger in tops:
            logger.setLevel(logging.NOTSET)
        hear_only("a_lab.nets")
        heard = [logging.getLogger(name).isEnabledFor(logging.INFO) for name in names]
        assert heard == [True, True, level == logging.DEBUG]
        assert logging.getLogger(names[2]).isEnabledFor(logging.WARNING)
    finally:
        for logger, old in zip((logging.getLogger(), *tops), before, strict=True):
            logger.setLevel(old)
