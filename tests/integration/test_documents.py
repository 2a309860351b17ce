"""A user who follows README.md and docs/adding.md gets what they promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.support.configs import ROOT
from tests.support.documents import commands, files, first_python, links
from tests.support.videos import ONE_REFERENCE, pan, write

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ADDING = "docs/adding.md"
SMALL = ["trainer.accelerator=cpu", "data.workers=0", "data.batch_size=2", "data.crop=[32,48]", "video.gop=4"]
STREET = [
    "data.source.films={train:2,val:1}",
    "data.source.length=24",
    "data.source.height=48",
    "data.source.width=64",
    "data.val_distances=[1,3]",
    "data.val_stride=5",
]
EPOCHS = {
    "image": ["model.epochs=1"],
    "arseg": ["model.high_epochs=1", "model.low_epochs=1"],
    "mixed_logits": ["model.epochs=1"],
}


def yard(root: Path) -> None:
    """The data set of docs/adding.md: a ball on a textured floor."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            image = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            mask = np.zeros((48, 64), np.uint8)
            centre = (int(rng.integers(12, 52)), int(rng.integers(12, 36)))
            cv2.circle(mask, centre, 8, 1, -1)
            cv2.circle(image, centre, 8, (0, 0, 255), -1)
            for kind, content in (("images", image), ("masks", mask)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / kind / split / f"{index:02d}.png"), content)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the repository with the files of docs/adding.md, its data set and a video."""
    folder = tmp_path_factory.mktemp("workshop")
    for path, content in files(ADDING).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    yard(folder / "yard")
    write(folder / "video.mp4", pan(6, 48, 64, (2, 1)), "libx264", ONE_REFERENCE)
    return folder


def reduced(command: list[str]) -> list[str]:
    """The command with options that make it small; it is otherwise as it stands in the document."""
    module = command[2]
    if module == "src.train":
        model = next(argument.partition("=")[2] for argument in command if argument.startswith("model="))
        street = STREET if "data=street" in command else []
        return [*command, *SMALL, *EPOCHS[model], *street]
    if module == "src.eval":
        return [*command, "device=cpu"]
    return [*command, "device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def outcomes(workshop: Path) -> list[subprocess.CompletedProcess[str]]:
    """Each command of docs/adding.md, run there in order."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.run(
            [sys.executable, *reduced(command)[1:]],
            cwd=workshop,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        for command in commands(ADDING)
    ]


@pytest.mark.train
@pytest.mark.subprocess
@pytest.mark.parametrize("index", range(len(commands(ADDING))))
def test_adding_runs_as_it_is_written(outcomes: list[subprocess.CompletedProcess[str]], index: int) -> None:
    assert outcomes[index].returncode == 0, outcomes[index].stderr[-3000:]


@pytest.mark.train
@pytest.mark.subprocess
@pytest.mark.usefixtures("outcomes")
def test_own_network_and_method_stand_in_tables_and_segment_a_video(workshop: Path) -> None:
    both = json.loads((workshop / "runs" / "eval" / "metrics.json").read_text())
    assert {"AR", "constant", "warp only"} == {row["method"] for row in both}
    mixed = json.loads((workshop / "runs" / "eval_mixed" / "metrics.json").read_text())
    assert {"mixed logits", "AR", "constant", "warp only"} == {row["method"] for row in mixed}
    frames = json.loads((workshop / "runs" / "mixed_segmented" / "timing.json").read_text())["frames"]
    assert {frame["keyframe"] for frame in frames} == {True, False}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        if link.startswith("http"):
            continue
        file, _, section = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if section:
            assert section in sections(target), link


def sections(path: Path) -> set[str]:
    """Anchors of the headings of a document, as Markdown viewers form them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_snippet_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write(tmp_path / "video.mp4", pan(6, 48, 64, (2, 1)), "libx264", ONE_REFERENCE)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    exec(compile(first_python("README.md"), "README.md", "exec"), {})
    torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["keyframe", "other", "other", "other", "other", "other"]
    assert all("(48, 64, 3)" in line and line.endswith(" ms") for line in lines)


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
