"""`src.adapt`: a checkpoint and videos in, an adapted checkpoint out; resumed exactly, nothing lost, never worse."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from src.adaptation.learner import Learner, NotFinite
from src.adaptation.options import AdaptOptions
from src.checkpoints.load import load_checkpoint, read_content
from src.commands import adapt as command
from src.commands.adapt import CHECKPOINT, SCORES, SEGMENTED, UNFINISHED, adapt, adapt_to_videos
from src.errors import UserError
from src.interruption import Interruption
from tests.support.configs import ROOT, Compose
from tests.support.tiny_runner import AR, IMAGE, exact_film, save_checkpoint
from tests.unit.adaptation.test_learner import learning


@pytest.fixture(scope="module")
def ar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("ar") / "ar.ckpt", AR)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exact_film(tmp_path_factory.mktemp("video") / "video.mp4", 40, 20)


def request(checkpoint: Path, source: Path, output: Path, **changes: Any) -> AdaptOptions:
    given = {
        "checkpoint": str(checkpoint), "source": str(source), "output": str(output), "steps": 12, "seed": 0,
        "held_out": True, "score_frames": 300, "save_every": 4, "max_gop": None, "motion": "auto", "on_damage": "stop",
        "device": "cpu", "threads": 1, "learning": learning(crop=[384, 512]),
    }  # fmt: skip
    return AdaptOptions(**{**given, **changes})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).network.state_dict()


def test_it_writes_a_checkpoint_like_any_other_and_a_report(ar: Path, video: Path, tmp_path: Path) -> None:
    found = adapt(request(ar, video, tmp_path / "out"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".lock", SCORES, CHECKPOINT]
    assert json.loads((tmp_path / "out" / SCORES).read_text()) == found
    assert found["adapted"] is True
    for part, frames in (("held_out", 8), ("all", 32)):
        assert found[part]["frames"] == frames
        assert found[part]["after"]["agreement"] > found[part]["before"]["agreement"]
        assert list(found[part]["before"]["by_distance"]) == ["1", "2", "3", "4"]
    loaded = load_checkpoint(tmp_path / "out" / CHECKPOINT)
    assert loaded.metadata["phase"] == "adapted"
    record = loaded.metadata["source"]["adaptation"]
    assert record["videos"][0]["name"] == "video.mp4"
    assert record["settings"]["steps"] == 12
    before, after = weights(ar), loaded.network.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("high."))


def test_an_adapted_checkpoint_is_adapted_again(ar: Path, video: Path, tmp_path: Path) -> None:
    adapt(request(ar, video, tmp_path / "first", steps=3))
    adapt(request(tmp_path / "first" / CHECKPOINT, video, tmp_path / "second", steps=3))
    metadata = load_checkpoint(tmp_path / "second" / CHECKPOINT).metadata
    assert metadata["source"]["adaptation"]["before"]["adaptation"]["count"] == 1


def test_several_videos_in_a_folder(ar: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name, length in (("a.mp4", 12), ("b.mp4", 16)):
        exact_film(tmp_path / "videos" / name, length, 20)
    found = adapt(request(ar, tmp_path / "videos", tmp_path / "out", steps=4))
    assert [v["name"] for v in found["videos"]] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("stopped_after", [5, 8])
def test_an_interrupted_run_continues_to_the_same_weights(
    ar: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_after: int
) -> None:
    adapt(request(ar, video, tmp_path / "whole"))
    step, signals = Learner.step, [None]

    def interrupted(self: Learner, batch: Any) -> Any:
        found = step(self, batch)
        signals[0] = 15 if self.done == stopped_after else None  # type: ignore[call-overload]
        return found

    def raise_received() -> None:
        if signals[0] is not None:
            raise Interruption(signals[0])

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", interrupted)
        patched.setattr(command, "raise_received", raise_received)
        with pytest.raises(Interruption) as error:
            adapt(request(ar, video, tmp_path / "out"))
    assert "the same command continues" in error.value.__notes__[0]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".lock", UNFINISHED]
    with pytest.raises(UserError, match=r"out' holds results of another run \(another settings\)"):
        adapt(request(ar, video, tmp_path / "out", seed=1))
    done: list[int] = []
    monkeypatch.setattr(Learner, "step", lambda self, batch: (step(self, batch), done.append(1))[0])
    adapt(request(ar, video, tmp_path / "out"))
    assert len(done) == 12 - stopped_after
    expected, found = weights(tmp_path / "whole" / CHECKPOINT), weights(tmp_path / "out" / CHECKPOINT)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert not (tmp_path / "out" / UNFINISHED).exists()


def test_a_complete_output_is_kept(ar: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = adapt(request(ar, video, tmp_path / "out", steps=3))
    stamp = (tmp_path / "out" / CHECKPOINT).stat().st_mtime_ns
    monkeypatch.setattr(Learner, "step", None)  # nothing is learned again
    assert adapt(request(ar, video, tmp_path / "out", steps=3)) == found
    with pytest.raises(UserError, match="results of another run"):
        adapt(request(ar, video, tmp_path / "out", steps=4))
    assert (tmp_path / "out" / CHECKPOINT).stat().st_mtime_ns == stamp


def test_a_run_that_was_interrupted_while_it_was_compared_learns_nothing_again(
    ar: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise Interruption(15)

    with monkeypatch.context() as patched:
        patched.setattr(command, "compare", interrupted)
        with pytest.raises(Interruption):
            adapt(request(ar, video, tmp_path / "out", steps=3))
    monkeypatch.setattr(Learner, "step", None)
    assert adapt(request(ar, video, tmp_path / "out", steps=3))["all"]["frames"] == 32


def test_a_checkpoint_of_somebody_else_is_not_overwritten(ar: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_text("mine")
    with pytest.raises(UserError, match="nothing is overwritten"):
        adapt(request(ar, video, tmp_path))
    assert (tmp_path / CHECKPOINT).read_text() == "mine"


@pytest.mark.parametrize(
    ("key", "message"),
    [("agreement", "lower than before: agreement;"), ("miou", "lower than before: miou;")],
)
def test_weights_that_are_worse_are_not_written(
    ar: Path,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    key: str,
    message: str,
) -> None:
    compare = command.compare

    def lowered(*arguments: Any) -> dict[str, Any]:
        found = compare(*arguments)
        return {part: {**x, "after": {**x["after"], key: x["before"][key] - 1e-4}} for part, x in found.items()}

    monkeypatch.setattr(command, "compare", lowered)
    found = adapt(request(ar, video, tmp_path / "out"))
    assert found["adapted"] is False
    assert message in caplog.text
    before, after = weights(ar), weights(tmp_path / "out" / CHECKPOINT)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_loss_that_is_not_finite_leaves_nothing(
    ar: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Learner, batch: Any) -> Any:
        if self.done == 5:
            raise NotFinite("the loss is not finite at step 6; give a lower learning.lr=0.01")
        self.done += 1
        return {"feature": 1.0}

    monkeypatch.setattr(Learner, "step", fails)
    with pytest.raises(UserError, match=r"not finite at step 6; give a lower learning.lr.*nothing is written"):
        adapt(request(ar, video, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_short_video_is_scored_on_all_frames(ar: Path, tmp_path: Path) -> None:
    found = adapt(request(ar, exact_film(tmp_path / "short.mp4", 8, 20), tmp_path / "out", steps=2))
    assert found["held_out"] is None
    assert found["all"]["frames"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "rtsp://camera/1"}, "src.predict adapt=true"),
        ({"source": "missing.mp4"}, "missing.mp4"),
        ({"checkpoint": "missing.ckpt"}, "missing.ckpt"),
        ({"output": "/proc/adapted"}, "cannot be written"),
        ({"max_gop": 1}, "max_gop=1"),
        ({"steps": 0}, "steps=0"),
        ({"motion": "none"}, "video.motion=none"),
    ],
)
def test_wrong_input_is_one_line(ar: Path, video: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        adapt(request(**{"checkpoint": ar, "source": video, "output": tmp_path / "out", **change}))
    assert not (tmp_path / "out").exists()


def test_other_networks_and_intra_videos_are_rejected(video: Path, ar: Path, tmp_path: Path) -> None:
    image = save_checkpoint(tmp_path / "image.ckpt", IMAGE)
    with pytest.raises(UserError, match="AR-Seg"):
        adapt(request(image, video, tmp_path / "out"))
    intra = exact_film(tmp_path / "intra.mp4", 6, 1)
    with pytest.raises(UserError, match=r"'intra\.mp4' holds no frame to learn from"):
        adapt(request(ar, intra, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command_adapts_prints_and_segments(
    ar: Path, video: Path, tmp_path: Path, composed: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    config = composed(
        "adapt", tmp_path, f"checkpoint={ar}", f"source={video}", f"output={tmp_path / 'out'}", "steps=3", "threads=1",
        "device=cpu", "segment=true", "results.backend=torch", "results.precision=fp32", "results.save_labels=true",
        "results.overlay=false",
    )  # fmt: skip
    adapt_to_videos(config)
    assert "against the high branch, other frames (8)" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / SEGMENTED / "labels").iterdir())) == 40


@pytest.mark.subprocess
def test_a_signal_ends_the_command_with_one_line_and_keeps_what_was_learned(
    ar: Path, video: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    given = [f"checkpoint={ar}", f"source={video}", f"output={output}", "plugins=[tests.support.tiny_runner]"]
    given += ["steps=100000", "save_every=1", "threads=1", "device=cpu", "learning.batch_size=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "src.adapt", *given],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while process.poll() is None and not (output / UNFINISHED).exists():
        time.sleep(0.05)
    process.terminate()
    errors = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    message = f"error: interrupted by SIGTERM: what was learned is kept in '{output}'; the same command continues"
    assert errors.splitlines()[-1] == message
    assert read_content(output / UNFINISHED)["learner"]["done"] >= 1
