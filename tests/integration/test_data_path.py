"""From archive to prediction, on miniatures of every data set with images of two sizes or more.

Prepare, train one step per phase, evaluate, predict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from omegaconf import DictConfig

from src.commands.evaluate import evaluate
from src.commands.predict import predict
from src.commands.prepare import prepare_data_set
from src.commands.train import train
from src.inference.options import LiveOptions, PredictOptions
from tests.support import miniatures

GOP = 4
DATA = {  # how the miniature is made, the split evaluated, frames scored, what else is set
    "cityscapes": (miniatures.cityscapes_of_two_sizes, "val", 2 * GOP, ["video.codec=hevc", "video.bitrate=5000"]),
    "camvid_films": (miniatures.camvid_with_films, "test", 2 * GOP, ["video.codec=hevc", "video.bitrate=3000"]),
    "voc2012": (miniatures.voc, "val", 2 * GOP, ["data.fit.short=64", "data.fit.long=256"]),
    "folder": (miniatures.folder, "val", 3 * GOP, []),
    "vspw": (miniatures.vspw, "val", 18, []),
    "nyudv2": (miniatures.nyudv2, "test", 2 * GOP, []),
}
EXPERIMENTS = {"cityscapes": "arseg_cityscapes", "camvid_films": "arseg_camvid_films"}
SMALL = [
    "data.crop=[32,48]",
    "data.batch_size=2",
    "data.workers=0",
    "data.val_distances=[3]",
    f"video.gop={GOP}",
    "video.preset=veryfast",
]
TRAIN = [
    "network.arguments.weights=none",
    "model.high_epochs=1",
    "model.low_epochs=1",
    "model.phases.constant=null",
    "+limits.limit_train_batches=1",
    "data.val_stride=1",
]
OF_DATA_ALONE = ["model=arseg", "network=timm"]

REST = ("png", True, 1, LiveOptions("none", 0, 10.0))  # of `PredictOptions`


@pytest.mark.parametrize("name", DATA)
def test_from_archive_to_prediction(name: str, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    make, split, scored, settings = DATA[name]
    root, cache, run = make(tmp_path / "root"), tmp_path / "cache", tmp_path / "run"
    given = [f"data.root={root}", f"paths.cache={cache}", *SMALL, *settings]

    prepare_data_set(composed("prepare", tmp_path, f"data={name}", *given, f"splits=[train,{split}]"))
    made = sorted(path.name for path in cache.rglob("*.*"))
    manifest = [json.loads(line) for line in (cache / "manifest.jsonl").read_text().splitlines()]
    at_labels = [record for record in manifest if f"_d0{GOP - 1}" in record["name"] or "_from00" in record["name"]]
    assert len(made) == sum(3 + ("vectors" in record) for record in manifest) + 2, "the manifest and its digest"
    assert all(record["psnr_y"] > 25 for record in manifest)
    assert at_labels

    method = [f"experiment={EXPERIMENTS[name]}"] if name in EXPERIMENTS else [f"data={name}", *OF_DATA_ALONE]
    train(composed("train", run, *method, *given, *TRAIN, f"data.module.val_split={split}"))
    assert sorted(path.name for path in cache.rglob("*.*")) == made, "training takes what was prepared"
    drawn = cv2.imread(str(run / "low" / "pictures" / "epoch_0000.png"))
    assert (drawn[:, -1] == 0).any(), "clips of two sizes, the narrower filled up"

    checkpoint = run / "low" / "checkpoints" / "last.ckpt"
    evaluated = [f"checkpoint={checkpoint}", f"data.root={root}", f"split={split}", f"paths.cache={cache}"]
    results = evaluate(composed("eval", tmp_path / "eval", *evaluated), _made(tmp_path / "eval"))
    assert sorted(path.name for path in cache.rglob("*.*")) == made
    for row in results:
        assert row["frames"] == scored, "each labelled frame at each distance, or once where all of a video are"
        assert not any(math.isnan(value) for value in row["miou_by_distance"])

    if name == "cityscapes":
        for inputs in ("stills", "videos"):
            files = [*evaluated, f"inputs={inputs}", "split=test", f"submission={tmp_path / inputs}"]
            assert evaluate(composed("eval", tmp_path / "eval", *files), tmp_path / "eval") == []
            (written,) = (tmp_path / inputs).iterdir()
            assert written.name == "berlin_000000_000019_pred_labelIds.png"
            assert cv2.imread(str(written), cv2.IMREAD_UNCHANGED).shape == miniatures.OTHER_SIZE

    film = next(cache.rglob(f"{at_labels[0]['key']}.mp4"))
    request = PredictOptions(
        str(checkpoint),
        str(film),
        str(tmp_path / "out"),
        None,
        "auto",
        "stop",
        False,
        0.5,
        "cpu",
        "torch",
        "fp32",
        1,
        *REST,
    )
    predict(request)
    assert (tmp_path / "out" / "overlay.mp4").exists()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
