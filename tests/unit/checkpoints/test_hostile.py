"""A sample of `python -m scripts.campaigns hostile`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.campaigns.hostile import HostileFiles
from scripts.campaigns.hostile_content import hostile_files

pytestmark = pytest.mark.subprocess
SLOW = ("three million", "copy after copy", "lists that share", "a mapping of lists", "keys that share")


def test_hostile_files_are_refused_in_one_line_and_bounded_memory(tmp_path: Path) -> None:
    campaign = HostileFiles(tmp_path)
    by_hand = {what for what, _ in hostile_files() if not what.startswith(SLOW)}
    cases = [case for number, case in enumerate(campaign.edited()) if case[1] in by_hand or number % 16 == 0]
    answers = [campaign.ask(case) for case in [*cases, *(campaign.damaged(seed) for seed in range(10))]]
    assert len(answers) > 60
    assert [answer for answer in answers if not answer.is_good] == []


def test_the_campaign_finds_what_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = HostileFiles(tmp_path)
    monkeypatch.setattr(campaign, "_read", lambda reader, path: {"another": "content"})
    assert campaign.ask(("checkpoint", "x", b"")).outcome == "silent"
    monkeypatch.setattr(campaign, "_read", lambda reader, path: 1 / 0)
    assert campaign.ask(("checkpoint", "x", b"")).outcome == "traceback"
    monkeypatch.setattr(campaign, "_read", lambda reader, path: bytearray(8 << 30))  # more than this process keeps
    assert campaign.ask(("checkpoint", "x", b"")).outcome in ("traceback", "memory")
