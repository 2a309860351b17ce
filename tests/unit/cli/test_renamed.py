"""Former names are answered with today's, which exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from src.cli.renamed import renamed, renamed_arguments
from tests.support.configs import ROOT


@pytest.mark.parametrize(
    ("former", "today"),
    [
        ("model=arseg_timm", "model=arseg network=timm"),
        ("model=tdnet_td4_psp18", "model=tdnet network=td4_psp18"),
        ("model=arseg_timm,arseg_bisenet18", "model=arseg network=timm,bisenet18"),
        ("model=arseg_timm,rdrnet_s", "model=arseg network=timm and, in a run of its own, network=rdrnet_s"),
        ("model=image,bisenet18", "model=image and, in a run of its own, network=bisenet18"),
        ("model=dfanet_a_classifier,dfanet_b_classifier", "model=classifier network=xception_a,xception_b"),
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


@pytest.mark.parametrize(
    ("gone", "origin"),
    [
        ("data.num_classes", "the number of classes is that of the data set"),
        ("model.num_classes", "the number of classes is that of the data set"),
        ("model.fusion.channels", "the channels are those of the network's features"),
    ],
)
@pytest.mark.parametrize("form", ["{}=3", "+{}=3", "~{}"])
def test_what_is_derived_needs_no_key(gone: str, origin: str, form: str) -> None:
    line = renamed_arguments([form.format(gone)])
    assert line == f"'{gone}' is not needed: {origin}; leave it out"


FORMER_KEYS = re.compile(r"(?<![\w.@/])(?:model|data|loss|segmenter)[.@=][\w.@=]*")


def former_keys(text: str) -> list[str]:
    """Former names of keys and choices in a text; a key that ends with a dot goes on with an inserted value."""
    found = []
    for key in FORMER_KEYS.findall(text):
        whole = key.rstrip(".") if not text.endswith(key) else key + "x" * key.endswith(".")
        if renamed_arguments([whole if "=" in whole else f"{whole}=1"]):
            found.append(key)
    return found


def test_former_keys_in_a_text_are_found() -> None:
    assert former_keys("check model.segmenter.width and model.num_paths=") == [
        "model.segmenter.width",
        "model.num_paths=",
    ]
    assert former_keys("give model.loss.") == ["model.loss."]
    assert former_keys("give model.lr_scale or network.loss.main.weights") == []


def texts(tree: ast.AST) -> Iterator[str]:
    """Strings of a module without its docstrings: those may tell of checkpoints of before."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and not isinstance(node, ast.Expr):
                yield child.value


def test_no_text_names_a_key_that_is_gone() -> None:
    files = [path for path in sorted((ROOT / "src").rglob("*.py")) if path.name != "renamed.py"]
    assert len(files) > 100
    wrong = [
        f"{path.relative_to(ROOT)} {key}"
        for path in files
        for text in texts(ast.parse(path.read_text()))
        for key in former_keys(text)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "given",
    [
        "model=arseg",
        "model=image",
        "network=bisenet18",
        "model.teacher.arguments.weights=none",
        "num_classes=11",
        "model=arseg,tdnet",
    ],
)
def test_names_of_today_pass(given: str) -> None:
    assert renamed_arguments([given]) is None
