"""The benchmark programs run; what they measure means nothing at these sizes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scripts.benchmarks import training
from tests.support import videos

PROGRAMS = {  # arguments, and how many lines of results
    "fusion": (["--threads", "1", "--rounds", "1"], 10),
    "local_attention_gpu": (["--small", "--device", "cpu"], 2),
    "training": (["--rounds", "1", "--steps", "1", "--batch", "2", "--threads", "1"], 5),
    "vectors": (["VIDEO", "--rounds", "1"], 2),
    "loading": (["--height", "240", "--width", "320", "--rounds", "1", "--threads", "1"], 3),
    "startup": (["--clips", "40"], 3),
    "transcode": (["VIDEO", "--frames", "13"], 1),
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_its_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], composed: None
) -> None:
    video = tmp_path / "video.mp4"
    videos.write(video, videos.pan(26, 96, 128, (3.0, 1.0)), "libx264", videos.ONE_REFERENCE)
    arguments, lines = PROGRAMS[name]
    given = [str(video) if argument == "VIDEO" else argument for argument in arguments]
    monkeypatch.setattr("sys.argv", [name, *given])
    monkeypatch.setattr(training, "CASES", {"AR-Seg": (["experiment=arseg_street"], "low", 2, (64, 96))})
    monkeypatch.setattr(training, "WARMUP", 0)
    importlib.import_module(f"scripts.benchmarks.{name}").main()
    printed = capsys.readouterr().out.strip().splitlines()
    assert len(printed) >= lines
    wrong = ("triton_failed", "shifts_failed", "nan")  # FlexAttention has no gradient on CPUs
    assert not any(word in line for word in wrong for line in printed)
