"""`src.export`: a checkpoint as a folder of files, and the stand-alone program that runs it."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.commands.export import export_checkpoint
from src.errors import UserError
from src.inference.api import load_segmenter
from src.inference.keyframes import KeyedMotion
from src.inference.runner import FrameRunner
from src.inference.segment import segment
from src.video.reading.decode import Video
from tests.support.configs import ROOT
from tests.support.tiny_runner import AR, IMAGE, exact_film, save_checkpoint


def exported(composed, tmp_path, network, *given):
    checkpoint = save_checkpoint(tmp_path / "net.ckpt", network)
    output = tmp_path / "files"
    config = composed("export", tmp_path, f"checkpoint={checkpoint}", f"output={output}", "threads=1", *given)
    return checkpoint, output, export_checkpoint(config)


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_program_with_the_runtime_alone_labels_a_video(composed, tmp_path, format):
    film = exact_film(tmp_path / "film.mp4", 8, gop=4)
    checkpoint, output, summary = exported(
        composed, tmp_path, AR, f"format={format}", f"source={film}", "input.height=48", "input.width=64"
    )
    assert {row["graph"] for row in summary["graphs_compared"]} == {"key", "nonkey", "warp"}
    assert all(row["difference"] < 1e-4 for row in summary["graphs_compared"])
    assert json.loads((output / "export.json").read_text())["classes"]["names"][0] == "road"
    segmenter = load_segmenter(checkpoint, threads=1)
    own = [frame.labels for frame in segmenter.run(film)]
    assert agreement(own, labelled_alone(tmp_path / "alone", output, film)) > 0.995
    warp_only = FrameRunner(segmenter.network.comparisons()[1], segmenter.normalisation, segmenter.device)
    warped = [frame.labels for frame in segment(Video(film), warp_only, KeyedMotion(3))]
    assert agreement(warped, labelled_alone(tmp_path / "warped", output, film, "3")) > 0.995
    assert agreement(own, warped) < 0.99


@pytest.mark.parametrize(
    ("every", "message"),
    [("0", "no whole number above 0"), ("6.5", "no whole number above 0"), ("3", "no graph that moves labels")],
)
def test_the_program_refuses_what_it_cannot_do(composed, tmp_path, monkeypatch, every, message):
    _, output, _ = exported(composed, tmp_path, IMAGE, "format=onnx", "input.height=48", "input.width=64")
    monkeypatch.setattr(sys, "argv", ["run_exported.py", str(output), "video.mp4", str(tmp_path / "labels"), every])
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(ROOT / "scripts" / "run_exported.py"), run_name="__main__")
    assert not (tmp_path / "labels").exists()


def agreement(own, found):
    """Share of pixels with the same label."""
    assert len(found) == len(own) == 8
    return np.mean([np.mean(a == b) for a, b in zip(own, found, strict=True)])


def labelled_alone(folder, *given):
    """Labels by run_exported.py, which has neither this project nor torch."""
    folder.mkdir()
    alone = shutil.copy(ROOT / "scripts" / "run_exported.py", folder / "run_exported.py")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    exported, film, *every = map(str, given)
    program = (
        "import runpy, sys\n"
        "sys.modules.update(src=None, torch=None)  # as if they were not installed\n"
        f"sys.argv = {[str(alone), exported, film, str(folder / 'labels'), *every]}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True)
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((folder / "labels").iterdir())]


@pytest.mark.slow
@pytest.mark.parametrize(("format", "network"), [("onnx", IMAGE), ("openvino", AR)])
def test_int8_is_calibrated_on_a_video(composed, tmp_path, format, network):
    film = exact_film(tmp_path / "film.mp4", 8, gop=4)
    given = f"format={format}", "precision=int8", f"source={film}", "input.height=48", "input.width=64"
    _, _, summary = exported(composed, tmp_path, network, *given)
    assert summary["precision"] == "int8"
    assert all(0.7 < row["equal"] <= 1 and row["difference"] > 1e-5 for row in summary["graphs_compared"])
    assert "miou" not in summary


def test_a_folder_that_is_not_empty_is_left_as_it_is(composed, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "mine.txt").touch()
    with pytest.raises(UserError, match=r"holds 'mine\.txt' and nothing is overwritten"):
        exported(composed, tmp_path, IMAGE, "format=torch")
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["format=keras"], "format=keras is not one of"),
        (["format=torch", "input.height=64"], "input.width=None: give both"),
        (["format=torch", "source=nothing.mp4"], r"nothing\.mp4"),
    ],
)
def test_wrong_input_leaves_nothing(composed, tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        exported(composed, tmp_path, IMAGE, *given)
    assert not (tmp_path / "files").exists()


def test_torch_export(composed, tmp_path):
    _, output, summary = exported(composed, tmp_path, IMAGE, "format=torch", "input.height=48", "input.width=64")
    assert sorted(path.name for path in Path(output).iterdir()) == ["export.json", "key.pt2"]
    assert summary["graphs_compared"][0]["equal"] == 1
