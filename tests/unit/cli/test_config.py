"""Keys of a configuration that nothing reads are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.cli.config import check_keys
from src.cli.config_folders import check_files
from src.errors import UserError
from tests.support.configs import Compose


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+sedd=1", "'sedd'.*did you mean 'seed'"),
        ("+video.goop=4", "video.goop.*did you mean 'gop'"),
        ("+trainer.max_epoch=3", "trainer.max_epoch.*did you mean 'max_epochs'"),
        ("+model.optimizer.lrr=1", "model.optimizer.lrr.*did you mean 'lr'"),
        ("+model.phases.low.module.low_wieght=1", "did you mean 'low_weight'"),
        ("+model.phases.low.dta.view=still", "model.phases.low.dta"),
        ("+data.module.transform.jitter.hues=1", "did you mean 'hue'"),
    ],
)
def test_a_misspelt_key_is_refused(override: str, message: str, composed: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        check_keys(composed("train", tmp_path, "experiment=arseg_street", override))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-dir", "{}", "experiment=mine"],
        ["--config-dir={}", "+experiment=mine"],
        ["-cd", "{}", "experiment=other,mine", "--multirun"],
        ["hydra.searchpath=[file://{},pkg://x]", "experiment=mine"],
        ["--config-dir={}", "experiment=outer"],
        ["--config-dir={}", "network@model.net=inner"],
    ],
)
def test_a_file_of_the_user_that_unfolds_without_bound_is_refused(arguments: list[str], tmp_path: Path) -> None:
    for name, text in {
        "experiment/mine": "a: " + "[" * 1000,
        "experiment/outer": "defaults:\n  - _self_\n  - override /network@x: inner\n",
        "network/inner": "defaults: [base]\n",
        "network/base": "a: &a [*a]\nb: [*a]\n",
        "experiment/unused": "a: [",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(UserError, match=r"(mine|base)\.yaml' cannot be read"):
        check_files([argument.format(tmp_path) for argument in arguments])
    check_files([f"--config-dir={tmp_path}", "data=folder", "experiment=missing"])
