"""Label PNGs for a test server have its values and names."""

from __future__ import annotations

import fnmatch
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torchmetrics import MetricCollection

from src.checkpoints.load import load_checkpoint
from src.commands import evaluate
from src.data.datasets.base import LabelledDataset
from src.data.datasets.cityscapes import LABEL_IDS, Cityscapes
from src.data.datasets.voc import Voc
from src.errors import UserError
from src.evaluation.scoring import score_stills
from src.evaluation.submission import SubmissionFiles
from src.evaluation.systems import systems_of
from src.inference.runner import FrameRunner
from src.interruption import Interruption
from tests.support import miniatures
from tests.support.tiny_runner import CLASSES, IMAGE, save_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Cityscapes:
    root = miniatures.cityscapes_of_two_sizes(tmp_path_factory.mktemp("cityscapes"))
    return Cityscapes(str(root), 17, [0.4] * 3, [0.3] * 3, "stop")


def test_one_file_of_official_values_for_each_image(source: Cityscapes, tmp_path: Path) -> None:
    (system,) = systems_of({"net": load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", IMAGE))})
    (tmp_path / "out").mkdir()
    files = MetricCollection({"files": SubmissionFiles(tmp_path / "out", source)})
    images = [*source.images("val"), *source.images("test")]
    (computed,) = score_stills([system], images, files, CPU)
    assert computed["files"] == len(images) == 3
    runner = FrameRunner(system.network, system.normalisation, CPU, system.fit)
    for image in images:
        city, sequence, frame = image.name.split("_")
        (path,) = fnmatch.filter([p.name for p in (tmp_path / "out").iterdir()], f"{city}_{sequence}_{frame}*.png")
        written = cv2.imread(str(tmp_path / "out" / path), cv2.IMREAD_UNCHANGED)
        pixels, labels = image.read()
        found, _ = runner.step(pixels, runner.init_state(), None, (labels.shape[0], labels.shape[1]))
        assert written.dtype == np.uint8
        np.testing.assert_array_equal(written, np.array(LABEL_IDS)[found])
        assert set(np.unique(written)) <= set(LABEL_IDS[: len(CLASSES)])


@pytest.fixture
def submit(source: Cityscapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[LabelledDataset], None]:
    """Write the files of a test split into `tmp_path`/out, as the command does."""
    (system,) = systems_of({"net": load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", IMAGE))})
    given = {
        "submission": str(tmp_path / "out"),
        "split": "test",
        "inputs": "stills",
        "device": "cpu",
        "devices": 1,
        "live": None,
    }
    config = OmegaConf.create({**given, "threads": 1, "backend": "torch", "precision": "fp32"})
    monkeypatch.setattr(evaluate, "processes", lambda *_: nullcontext(CPU))

    def run(data: LabelledDataset) -> None:
        module: Any = SimpleNamespace(source=data, images=source.images, val_clips=None, on_damage="stop")
        evaluate._submit(config, module, system, "none")

    return run


def test_an_interrupted_run_leaves_nothing_and_the_next_one_is_complete(
    source: Cityscapes, submit: Callable[[LabelledDataset], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(files: SubmissionFiles) -> None:
        assert list(files.folder.glob("*.png"))
        raise Interruption(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SubmissionFiles, "compute", interrupted)
        with pytest.raises(Interruption) as ended:
            submit(source)
    assert ended.value.__notes__ == [f"'{tmp_path / 'out'}' is left as it was; start it again"]
    assert not (tmp_path / "out").exists()
    submit(source)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["berlin_000000_000019_pred_labelIds.png"]
    with pytest.raises(UserError, match=r"submission '.*' holds '.*\.png' and nothing is overwritten"):
        submit(source)


def test_data_sets_without_a_server_are_refused(submit: Callable[[LabelledDataset], None], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="known test server"):
        submit(Voc.__new__(Voc))
    assert not (tmp_path / "out").exists()
