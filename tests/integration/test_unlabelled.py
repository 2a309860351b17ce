"""AR-Seg learns from videos without labels beside its clips: as reproducibly, and checked before training starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from src.checkpoints.load import read_checkpoint
from src.checkpoints.metadata import KEY
from src.errors import UserError
from src.instantiate import instantiate
from src.training.summary import read_curves
from tests.support import configs, trainings
from tests.support.videos import pan, write

STOP = "+callbacks.stop={_target_: tests.integration.test_train.StopAt, epoch: 1}"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "large.mp4", pan(11, 96, 160, (2, 1)), "libx264")
    write(folder / "small.mkv", pan(6, 36, 50, (1, 0), seed=1), "mpeg4")
    return folder


def options(cache: Path, videos: object) -> list[str]:
    return [*configs.ARSEG, "model.high_epochs=1", f"paths.cache={cache}", f"data.unlabelled={videos}"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, street_cache: Path, videos: Path) -> Path:
    run = tmp_path_factory.mktemp("unlabelled")
    trainings.run(run, options(street_cache, f"[{videos}]"))
    return run


def test_phase_low_alone_learns_from_them(finished: Path, videos: Path) -> None:
    curves = read_curves(finished / "low" / "metrics.csv")
    assert len(curves["train/unlabelled"][1]) == len(curves["train/loss"][1])
    assert "train/unlabelled" not in read_curves(finished / "high" / "metrics.csv")
    metadata = read_checkpoint(finished / "low" / "checkpoints" / "last.ckpt")[KEY]
    assert str(videos) not in str(metadata), "where files were is of no use elsewhere"
    assert "unlabelled" not in metadata["data"]["options"]


def test_a_resumed_run_equals_an_uninterrupted_one_wherever_the_videos_lie(
    finished: Path, street_cache: Path, videos: Path, tmp_path: Path
) -> None:
    moved, run = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(videos, moved)
    with pytest.raises(RuntimeError, match="power cut"):
        trainings.run(run, [*options(street_cache, f"[{videos}]"), STOP])
    for wrong in ("[]", f"[{videos / 'large.mp4'}]"):
        with pytest.raises(UserError, match=r"was trained with data\.unlabelled=.*give data\.unlabelled="):
            trainings.run(run, [*options(street_cache, wrong), "ckpt_path=last"])
    trainings.run(run, [*options(street_cache, f"[{moved}]"), "ckpt_path=last", "data.workers=1"])
    one, other = (trainings.last(folder, "low")["state_dict"] for folder in (finished, run))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_pair_belongs_to_a_draw_and_has_the_size_of_labelled_clips(
    street_cache: Path, videos: Path, tmp_path: Path
) -> None:
    config = configs.compose_config(
        "train", tmp_path, configs.TINY, *configs.FILMS, *options(street_cache, f"[{videos}]")
    )
    data = instantiate(config.data.module, **config.model.phases.low.data)
    first: DataLoader[object] = data.train_dataloader()
    items = first.dataset
    seeds = [items[0, seed]["unlabelled"]["frames"] for seed in range(12)]
    assert torch.equal(seeds[3], items[0, 3]["unlabelled"]["frames"])
    assert len({frames.numpy().tobytes() for frames in seeds}) == 12
    batch = next(iter(first))
    assert batch.unlabelled.frames.shape == batch.frames.shape
    assert (batch.unlabelled.labels == 255).all()
    assert set(batch.unlabelled.name) <= {f"{clip.name}:{n}" for clip in data.prepared_unlabelled() for n in range(11)}
    sizes = {clip.read_labels(0, shape).shape for clip, shape in zip(data.prepared_unlabelled(), SHAPES, strict=True)}
    assert sizes == {(48, 80), (48, 67)}, "the short side of labelled clips"


SHAPES = [(48, 80)] * 3 + [(48, 67)] * 3


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ("[absent.mp4]", r"data\.unlabelled: there is no file 'absent\.mp4'; give videos"),
        ("absent.mp4", r"data\.unlabelled=absent\.mp4 is not a list"),
        ("[empty]", r"data\.unlabelled: folder 'empty' holds no video"),
        ("['x/*.mp4']", r"data\.unlabelled: nothing is named like 'x/\*\.mp4'"),
        ("['rtsp://camera']", r"data\.unlabelled: 'rtsp://camera' is live.*give files"),
        ("[text.mp4]", r"data\.unlabelled: video 'text\.mp4'"),
        ("[text.mp4] data.on_damage=skip", r"data\.unlabelled: no video is left"),
        ("[short.mp4]", r"data\.unlabelled: 'short\.mp4' has 3 frames, a GOP has 4; leave it out"),
    ],
)
def test_videos_that_cannot_be_used_are_refused_before_training(
    videos: str, message: str, street_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.mp4").write_text("no video")
    write(Path("short.mp4"), pan(3, 48, 64, (1, 0)), "libx264")
    given, *others = videos.split()
    with pytest.raises(UserError, match=message):
        trainings.run(tmp_path / "run", [*options(street_cache, given), *others])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", [["model=image", "network=tiny"], configs.TDNET], ids=["image", "tdnet"])
def test_methods_that_would_not_learn_from_them_are_refused(
    method: list[str], street_cache: Path, videos: Path, tmp_path: Path
) -> None:
    message = r"data\.unlabelled=\[.*no phase of model=(image|tdnet) learns.*give model=arseg, or leave it out"
    with pytest.raises(UserError, match=message):
        trainings.run(tmp_path / "run", [*method, f"paths.cache={street_cache}", f"data.unlabelled=[{videos}]"])
