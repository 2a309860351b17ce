"""Progress without a terminal: lines at intervals and at the end."""

from __future__ import annotations

import logging

import pytest

from src.progress import Interval, ProgressDisplay


def test_the_last_item_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with ProgressDisplay("frames", 3) as display:
        for _ in range(3):
            display.advance()
    [line] = caplog.messages
    assert line.startswith("3/3 frames, ")
    assert line.endswith(" frames/s, 0.0 min left")


def test_a_line_is_logged_when_it_is_due(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with ProgressDisplay("clips", 0, seconds=0) as display:
        display.advance()
        display.advance()
    assert [line.split(",")[0] for line in caplog.messages] == ["1 clips", "2 clips"]


def test_an_interval_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    interval = Interval(10)
    now = 10.0
    assert interval.is_due()
    interval.restart()
    now = 19.0
    assert not interval.is_due()
