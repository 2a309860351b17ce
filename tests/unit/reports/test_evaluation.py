"""Tables are generated from metrics.json and nothing else."""

import json
from pathlib import Path

import pytest

from src.errors import UserError
from src.reports.evaluation import live_table, read_results, results_markdown, row_names


def test_table_shows_what_the_file_holds(tmp_path: Path) -> None:
    row = {
        "method": "AR", "scale": 0.5, "miou": 0.512, "miou_by_distance": [0.6, 0.424], "iou": {"sky": 0.9},
        "gmacs": {"key": 4.0, "nonkey": 1.0, "amortised": 2.5},
    }  # fmt: skip
    constant = {**row, "method": "constant", "scale": 1.0, "gmacs": {"key": 5.0, "nonkey": 5.0, "amortised": 5.0}}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps([constant, row]))
    lines = results_markdown(read_results(path), [0, 1, 11]).splitlines()
    assert lines[0] == "| method | mean mIoU | d = 0 | d = 1 | GMACs key | non-key | amortised | share |"
    assert lines[-1] == "| AR 0.5x | 51.2 | 60.0 | 42.4 | 4.00 | 1.00 | 2.50 | 0.500 |"


def test_names_hold_what_tells_rows_apart_and_no_more() -> None:
    def names(*rows: str) -> list[str]:
        keys = ("method", "network", "checkpoint")
        return row_names([dict(zip(keys, row.split(), strict=True)) for row in rows])

    assert names("constant arseg /a/last.ckpt", "AR arseg /a/last.ckpt") == ["constant", "AR"]
    assert names("AR arseg /a/last.ckpt", "AR arseg camvid") == ["AR last.ckpt", "AR camvid"]
    assert names("x pspnet /a/l.ckpt", "x rdrnet /b/l.ckpt") == ["x pspnet", "x rdrnet"]
    runs = names("AR arseg /x/a/low/last.ckpt", "AR arseg /x/b/low/last.ckpt", "warp arseg /x/b/low/last.ckpt")
    assert runs == ["AR a/low/last.ckpt", "AR b/low/last.ckpt", "warp"]
    address = f"https://host/net.ckpt#sha256={'0' * 64}"
    assert names(f"AR arseg {address}", "AR arseg other.ckpt") == ["AR net.ckpt", "AR other.ckpt"]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '[{"loss": 1}]'])
def test_other_files_are_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json"):
        read_results(path)


def test_a_column_has_the_frames_that_missed_their_latency() -> None:
    live = {"fps": 15, "miou": 0.5, "ms_p50": 10.0, "ms_p99": 20.0, "late": 0.1, "skipped": 0.0}
    row = {"method": "AR", "scale": 0.5, "network": "net", "checkpoint": "a.ckpt", "miou": 0.6, "live": live}
    limited = {**row, "method": "AR uniform", "budget": "70ms@15", "live": {**live, "missed": 0.25}}
    head, rows = live_table([row, limited])
    assert head[-1] == "missed %"
    assert [cells[-1] for cells in rows] == ["-", "25.0"]
    assert live_table([row])[0] == head[:-1]
