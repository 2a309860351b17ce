"""Null, fractions and overridden keys are refused by their name, before anything is built of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from src.cli.config import check_keys
from src.cli.entry import all_keys
from src.commands.adapt import adapt_to_videos
from src.commands.predict import segment_video
from src.commands.prepare import prepare_data_set
from src.commands.train import train
from src.errors import UserError


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("data.crop=null", r"^data\.crop=null, but src\..*Transform needs a value for crop; give data\.crop=VALUE"),
        ("data.batch_size=null", r"^data\.batch_size=null, but"),
        ("video.codec=null", r"^video\.codec=null, but"),
        ("data.batch_size=2.5", r"^data\.batch_size=2\.5 is not a whole number; give data\.batch_size=3"),
        ("video.gop=7.5", r"^video\.gop=7\.5 is not a whole number"),
        ("data.source=null", r"data\.source=null, but there is no doing without it"),
        ("trainer.max_epochs=5", r"trainer\.max_epochs has no effect, .*; give model\.high_epochs, model\.low_epochs$"),
        ("data.source.films.train=null", r"^data\.source\.films\.train=None is out of range; give a whole number"),
        ("data.source.films.val=2.5", r"^data\.source\.films\.val=2\.5 is out of range; give a whole number"),
        ("network.arguments.width=null", r"^network\.arguments\.width=null, but timm needs a value for width; give"),
        ("network.arguments.width=2.5", r"^network\.arguments\.width=2\.5 is not a whole number"),
        ("model.optimizer.lr=null", r"^model\.optimizer\.lr=null, but torch\.optim\.AdamW needs a value for lr"),
        (
            "trainer.accumulate_grad_batches=null",
            r"^trainer\.accumulate_grad_batches=null, but lightning",
        ),
        ("trainer.devices=-1", r"^lightning\.Trainer rejects its configuration: .*; correct its values"),
        ("model.fusion.window=null", r"'window': None.*correct its arguments"),
        ("data.source.length=null", r"^data\.source\.length=null, but src\.data\.street\.dataset\.Street needs"),
    ],
)
def test_values_that_cannot_have_an_effect_are_refused(
    given: str, answer: str, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = composed("train", tmp_path, "experiment=arseg_street", given)
    with pytest.raises(UserError, match=answer):  # noqa: PT012  # either finds it
        check_keys(config)
        train(config)


@pytest.mark.parametrize("name", ["as_trained", "loading"])
def test_settings_of_data_sets_are_no_data_set(name: str, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"data={name} is no data set.*; give one, such as data=street"):
        prepare_data_set(composed("prepare", tmp_path, f"data={name}"))


def test_one_split_needs_no_brackets(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'tset'"):
        prepare_data_set(composed("prepare", tmp_path, "data=street", "splits=tset"))


@pytest.mark.parametrize("key", ["split", "inputs", "bootstrap"])
def test_an_evaluation_needs_a_split(key: str, composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{key}=null, but there is no doing without it"):
        check_keys(composed("eval", tmp_path, "checkpoint=arseg_camvid", f"{key}=null"))


@pytest.mark.parametrize(("name", "task"), [("predict", segment_video), ("adapt", adapt_to_videos)])
def test_no_option_of_a_command_is_null_unless_it_may_be(
    name: str, task: Callable[[DictConfig], None], composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """The video is missing, which is found after all options have been read."""
    given = ["checkpoint=arseg_camvid", "source=missing.mp4", f"output={tmp_path}/out"]
    keys = all_keys(OmegaConf.to_container(composed(name, tmp_path, *given)))
    for key in set(keys) - {"source", "plugins", "video"}:
        with pytest.raises(UserError, match=f"{re.escape(key)}=(null|None)|missing.mp4"):  # noqa: PT012  # either finds it
            config = composed(name, tmp_path, *[g for g in given if not g.startswith(key)], f"{key}=null")
            check_keys(config)
            task(config)
