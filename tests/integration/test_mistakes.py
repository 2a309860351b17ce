"""Mistakes in a configuration are answered by one message; all of them: `python -m scripts.campaigns mistakes`."""

from __future__ import annotations

import pytest

from scripts.campaigns.mistakes import BY_HAND, Mistakes, generated

QUICK = [case for case in BY_HAND if case[1] is not None][::5]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Mistakes:
    return Mistakes(tmp_path_factory.mktemp("mistakes"))


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case[0][0].split("/")[0])
def test_a_mistake_is_told(case: tuple[list[str], str | None], mistakes: Mistakes) -> None:
    answer = mistakes.by_hand(case)
    assert answer.outcome == "told", answer


@pytest.mark.parametrize(
    "override", ["data.batch_size=nan", "video.gop=word", "data.crop=[0,224]", "seed=-1", "model.low_epochs=null"]
)
def test_a_wrong_number_is_told(override: str, mistakes: Mistakes) -> None:
    assert override in generated()
    answer = mistakes.ask([override])
    assert answer.outcome == "told", answer
    assert override.split("=")[0].removeprefix("data.").removeprefix("model.low_") in answer.message
