"""Metrics as rows of a CSV file."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.errors import UserError
from src.training.loggers import ResumableCSVLogger, check_wandb
from src.training.summary import read_rows


def test_rows_of_steps_that_are_done_again_are_left_out(tmp_path: Path) -> None:
    first = ResumableCSVLogger(str(tmp_path))
    for step in range(4):
        first.log_metrics({"train/loss": 0.1 * step, "epoch": 0}, step)
    before = (tmp_path / "metrics.csv").read_text().splitlines()
    second = ResumableCSVLogger(str(tmp_path))
    second.resume_at(2)
    second.log_metrics({"train/loss": 7.0, "epoch": 0}, 2)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [*before[:3], "0,2,7.0"]
    assert not (tmp_path / "metrics.before.csv").exists()


def test_damaged_rows_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step,train/loss\n0,0,0.5\n0,1,\0\0\0\n0,2,0.25\n0,3\n\xff\xfe,\0")
    assert list(read_rows(path)) == [(0, {"epoch": 0, "train/loss": 0.5}), (2, {"epoch": 0, "train/loss": 0.25})]
    assert "3 damaged rows" in caplog.text
    ResumableCSVLogger(str(tmp_path)).resume_at(3)
    assert path.read_text().splitlines() == ["epoch,step,train/loss", "0,0,0.5", "0,2,0.25"]


def test_wandb_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = {"_target_": "src.training.loggers.ResumedWandbLogger", "offline": False}
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"no API key here; .* logger\.wandb\.offline=true"):
        check_wandb({"csv": None, "wandb": logger})
    check_wandb({"wandb": {**logger, "offline": True}})
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / ".netrc").chmod(0o600)
    check_wandb({"wandb": logger})


def test_a_damaged_row_leaves_those_after_it_alone(tmp_path: Path) -> None:
    rows = ["epoch,step,loss", "0,1,3", f"0,2,{'9' * 200_000}", '0,3,"9', "0,4,2"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    assert [step for step, _ in read_rows(tmp_path / "metrics.csv")] == [1, 3, 4]
