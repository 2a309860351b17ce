"""Tables print the texts they get."""

from __future__ import annotations

import pytest

from src.reports.tables import print_table


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["[bold]road[/bold]", "[/]", ":car:"]
    print_table(["class", *names], [["[red]mine", "1", "2", "3"]], title="runs/[2024]")
    printed = capsys.readouterr().out
    assert all(text in printed for text in (*names, "[red]mine", "runs/[2024]"))
