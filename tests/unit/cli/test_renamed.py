"""Former names are answered with today's, which exist."""

from __future__ import annotations

import pytest

from src.cli.renamed import renamed, renamed_arguments


@pytest.mark.parametrize(
    ("former", "today"),
    [
        ("model=arseg_timm", "model=arseg network=timm"),
        ("model=tdnet_td4_psp18", "model=tdnet network=td4_psp18"),
        ("model=bisenet18", "network=bisenet18"),
        ("model=bisenet18,rdrnet_s", "network=bisenet18,rdrnet_s"),
        ("model=dfanet_a_classifier", "model=classifier network=xception_a"),
        ("segmenter=rdrnet_s", "network=rdrnet_s"),
        ("segmenter@model.teacher=pspnet18", "network@model.teacher=pspnet18"),
        ("loss@model.loss=cross_entropy", "loss@network.loss=cross_entropy"),
        ("model.segmenter.weights=none", "network.arguments.weights=none"),
        ("+model.segmenter.depth=50", "network.arguments.depth=50"),
        ("model.net.norm_size=[4,6]", "network.arguments.norm_size=[4,6]"),
        ("model.num_paths=2", "network.num_paths=2"),
        ("model.teacher.weights=imagenet", "model.teacher.arguments.weights=imagenet"),
        ("model.loss.main.weights=[1]", "network.loss.main.weights=[1]"),
    ],
)
def test_a_former_name_is_answered_with_todays(former: str, today: str) -> None:
    assert renamed(former) == today
    line = renamed_arguments(["data=street", former])
    assert line == f"'{former}' has another name today; give {today}"


@pytest.mark.parametrize("gone", ["data.num_classes=3", "model.num_classes=3", "model.fusion.channels=64"])
def test_what_is_derived_needs_no_key(gone: str) -> None:
    assert "nothing" in str(renamed(gone))


@pytest.mark.parametrize(
    "given",
    ["model=arseg", "model=image", "network=bisenet18", "model.teacher.arguments.weights=none", "num_classes=11"],
)
def test_names_of_today_pass(given: str) -> None:
    assert renamed_arguments([given]) is None
