"""Keys of a configuration that nothing reads are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.cli.config import check_keys
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
