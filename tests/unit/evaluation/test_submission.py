"""Label PNGs for a test server have its values and names."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from src.checkpoints.load import load_checkpoint
from src.data.datasets.cityscapes import LABEL_IDS, Cityscapes
from src.data.datasets.voc import Voc
from src.errors import UserError
from src.evaluation.scoring import score_stills, systems_of
from src.evaluation.submission import SubmissionFiles
from src.inference.runner import FrameRunner
from tests.support import miniatures
from tests.support.tiny_runner import CLASSES, IMAGE, save_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Cityscapes:
    root = miniatures.cityscapes_of_two_sizes(tmp_path_factory.mktemp("cityscapes"))
    return Cityscapes(str(root), 17, [0.4] * 3, [0.3] * 3, "stop")


def test_one_file_of_official_values_for_each_image(source: Cityscapes, tmp_path: Path) -> None:
    (system,) = systems_of({"net": load_checkpoint(save_checkpoint(tmp_path / "net.ckpt", IMAGE))})
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


def test_nothing_is_overwritten(source: Cityscapes, tmp_path: Path) -> None:
    (tmp_path / "kept.png").write_bytes(b"")
    with pytest.raises(UserError, match="is not an empty folder"):
        SubmissionFiles(tmp_path, source)
    for folder in (tmp_path / "kept.png", tmp_path / "kept.png" / "below"):
        with pytest.raises(UserError, match=r"submission '.*' cannot be written .*; give a folder"):
            SubmissionFiles(folder, source)


def test_data_sets_without_a_server_are_refused(tmp_path: Path) -> None:
    other = Voc.__new__(Voc)
    with pytest.raises(UserError, match="known test server"):
        SubmissionFiles(tmp_path / "new", other)
