"""Wrong configurations: each is answered by one message that names value, rule and remedy, or trains without harm."""

from __future__ import annotations

import copy
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf

from src.checkpoints.load import read_checkpoint
from src.checkpoints.metadata import KEY
from src.errors import UserError
from tests.support import configs, trainings
from tests.support.configs import compose_config

SECONDS = 10
BASE = [
    "experiment=arseg_street",
    *configs.FILMS,
    "data.source.films={train:1,val:1}",
    "model.high_epochs=1",
    "model.low_epochs=1",
    *(f"model.phases.{phase}.trainer.check_val_every_n_epoch=1" for phase in ("high", "low", "constant")),
    "+limits.limit_train_batches=1",
    "+limits.limit_val_batches=1",
]
GROUPS = [
    *("experiment", "data", "model", "video", "trainer", "callbacks", "logger", "paths", "debug"),
    *("loss@network.loss", "optimizer@model.optimizer", "scheduler@model.scheduler", "network"),
    "data/clips@data.module.clips",
]

# What is written on the command line, and what the answer must say; None where no harm is done.
BY_HAND: list[tuple[list[str], str | None]] = [
    (["data=stret"], "data/stret"),
    (["network=resnet"], "network/resnet"),
    (["experiment=arseg_stret"], "experiment/arseg_stret"),
    (["logger=wanbd"], "logger/wanbd"),
    (["model.optimizer.lrr=1"], "lrr"),
    (["+model.optimizer.lrr=1"], "did you mean 'lr'"),
    (["video.gop=0"], r"video\.gop=0|gop 0 is below 1"),
    (["video.gop=40"], "lower video.gop"),
    (["video.codec=vp9"], "video.codec=vp9 is not one of"),
    (["video.crf=99"], "video.crf=99"),
    (["video.preset=quick"], "quick"),
    (["video.motion=exactly"], "video.motion=exactly is not one of"),
    (["model.lr_scale=0"], "lr_scale=0"),
    (["model.lr_scale=1.5"], "lr_scale=1.5"),
    (["data.crop=[480,640]"], None),  # pictures are padded, padding is ignored
    (["data.scale=[2.0,0.5]"], r"data.scale=\[2.0, 0.5\]"),
    (["data.batch_size=1000"], "lower data.batch_size=1000"),
    (["data.val_distances=[50]"], r"val_distances=\[50\]"),
    (["num_classes=19"], "has 11 classes; leave it out"),
    (["model.high_checkpoint={folder}/nothing.ckpt"], "nothing.ckpt' does not exist"),
    (["model.high_checkpoint={folder}/other_classes.ckpt"], "was trained on other classes"),
    (["model.high_checkpoint={folder}/torn.ckpt"], "torn.ckpt' cannot be read"),
    (["data=camvid", "data.root=null"], "data.root is not set"),
    (["data=camvid", "data.root={folder}/nowhere"], "nowhere"),
    (["data=cityscapes", "data.root={folder}"], "data.root"),
    (["trainer.devices=many"], "trainer.devices=many"),
    (["trainer.precision=fp8"], "fp8"),
    (["trainer.gradient_clip_val=1.0"], "give model.optimizer.fused=false"),
    (["trainer.sync_batchnorm=true"], "sync_batchnorm=true runs on GPUs only"),
    (["trainer.strategy=fsdp"], "strategy=fsdp runs on GPUs only"),
    (["ckpt_path=last"], "holds no last.ckpt"),
    (["ckpt_path=some.ckpt"], "ckpt_path=some.ckpt is not 'last'"),
    (["model.optimizer.lr=-0.1"], "Invalid learning rate: -0.1"),
    (["model.fusion.mix=blend"], "model.fusion.mix=blend"),
    (["network.loss.main.weights=[1,2,3]"], "3 class weights for 11 classes"),
    (["network.arguments.encoder=resnet_18"], "resnet_18"),
    (["model.low_start=hihg"], "model.low_start=hihg"),
    (["model.phases.low.needs.start_from=hgih"], "needs.start_from=hgih"),
    (["callbacks.best.monitor=val/mIoU"], "val/mIoU"),
    (["compile=inductr"], "compile=inductr"),
]


@dataclass(frozen=True)
class Answer:
    """What came of a command line: "told", "harmless" or "wrong", the message, and seconds of this process."""

    overrides: list[str]
    outcome: str
    message: str
    seconds: float


class Mistakes:
    """Tries wrong configurations of the quickstart, on films and networks small enough to train at once.

    Args:
        folder: for runs, clips and checkpoints; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0
        (folder / "torn.ckpt").write_bytes(b"PK torn")
        card = {**read_checkpoint("arseg_camvid")[KEY], "classes": {"names": ["road"], "palette": [[0, 0, 0]]}}
        torch.save({KEY: card, "state_dict": {}}, folder / "other_classes.ckpt")

    def by_hand(self, case: tuple[list[str], str | None]) -> Answer:
        """Try one of `BY_HAND`."""
        overrides = [part.replace("{folder}", str(self.folder)) for part in case[0]]
        answer = self.ask(overrides)
        expected = case[1]
        fits = answer.outcome == "harmless" if expected is None else re.search(expected, answer.message)
        return answer if fits else Answer(overrides, "wrong", answer.message, answer.seconds)

    def ask(self, overrides: list[str]) -> Answer:
        """Try a command line."""
        self._count += 1
        run_dir, begin = self.folder / f"run{self._count}", time.process_time()
        outcome, message = self._outcome(run_dir, overrides)
        shutil.rmtree(run_dir, ignore_errors=True)
        seconds = time.process_time() - begin
        if outcome == "told" and seconds > SECONDS:
            outcome, message = "wrong", f"after {seconds:.0f} s: {message}"
        return Answer(overrides, outcome, message, seconds)

    def _outcome(self, run_dir: Path, overrides: list[str]) -> tuple[str, str]:
        try:
            street = not any(override.startswith("data=") for override in overrides)
            base = BASE if street else [part for part in BASE if not part.startswith("data.")]
            trainings.run(run_dir, [*base, f"paths.cache={self.folder / 'cache'}", *overrides])
        except UserError as error:
            message = str(error)
            return "told" if ";" in message else "wrong", message  # what follows it is the remedy
        except InstantiationException as error:
            return "wrong", str(error)
        except HydraException as error:  # Hydra's own one message, with what there is to choose from
            return "told", str(error)
        except Exception as error:
            return "wrong", f"{type(error).__name__}: {error}"
        return "harmless", ""


def generated() -> Iterator[str]:
    """Every group misspelt, and every numeric key of arseg_street with 0, -1, 2.5, nan, a word and null."""
    for group in GROUPS:
        yield f"{group}=nonexistent"
    raw = OmegaConf.to_container(compose_config("train", Path("unused"), "experiment=arseg_street"))
    for key, value in numbers(raw):
        for wrong in (0, -1, 2.5, "nan", "word"):
            if isinstance(value, list):
                changed: list[Any] = copy.copy(value)
                changed[0] = wrong
                yield f"{key}=[{','.join(map(str, changed))}]"
            else:
                yield f"{key}={wrong}"
        yield f"{key}=null"


def numbers(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a configuration that hold a number or a list of numbers."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from numbers(value, f"{path}.{key}" if path else str(key))
    elif is_number(node) or (isinstance(node, list) and node and all(map(is_number, node))):
        yield path, node


def is_number(value: Any) -> bool:
    """Whether a value is a number, which true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
