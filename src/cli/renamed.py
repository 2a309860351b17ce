"""Answer former names of configuration keys and choices with the names of today."""

from __future__ import annotations

import re
from collections.abc import Sequence

NETWORK = r"(?:bisenet|ddrnet|dfanet|pidnet|pspnet|rdrnet|timm)\w*"
# Former override (a pattern of the whole argument) -> today's.
RENAMED: list[tuple[str, str]] = [
    (r"model=dfanet_([ab])_classifier", r"model=classifier network=xception_\1"),
    (r"model=arseg_(\w+)", r"model=arseg network=\1"),
    (r"model=tdnet_(\w+)", r"model=tdnet network=\1"),
    (rf"model=({NETWORK}(?:,{NETWORK})*)", r"network=\1"),
    (r"segmenter(?:@model\.segmenter)?=(.*)", r"network=\1"),
    (r"segmenter@model\.teacher=(.*)", r"network@model.teacher=\1"),
    (r"segmenter@model\.image=(.*)", r"network@network.start=\1"),
    (r"loss@model\.loss=(.*)", r"loss@network.loss=\1"),
    (r"loss@model\.teacher_loss=(.*)", r"loss@model.teacher.loss=\1"),
    (r"loss@model\.image_loss=(.*)", r"loss@network.start.loss=\1"),
    (r"model\.loss(\..*)", r"network.loss\1"),
    (r"model\.teacher_loss(\..*)", r"model.teacher.loss\1"),
    (r"model\.image_loss(\..*)", r"network.start.loss\1"),
    (r"model\.(?:segmenter|net)\.(.*)", r"network.arguments.\1"),
    (r"model\.teacher\.(?!name\b|arguments\b|loss\b)(.*)", r"model.teacher.arguments.\1"),
    (r"model\.image\.(.*)", r"network.start.arguments.\1"),
    (r"model\.num_paths(=.*)", r"network.num_paths\1"),
    (r"(?:model|data)\.num_classes=.*", "nothing: the number of classes is that of the data set"),
    (r"model\.fusion\.channels=.*", "nothing: the channels are those of the network's features"),
]


def renamed(argument: str) -> str | None:
    """Return what an argument of the command line is called today; None where its name did not change."""
    prefix = re.match(r"[+~]*", argument)
    bare = argument[prefix.end() if prefix else 0 :]
    for pattern, today in RENAMED:
        found = re.fullmatch(pattern, bare)
        if found:
            return found.expand(today)
    return None


def renamed_arguments(arguments: Sequence[str]) -> str | None:
    """Return one line about the first argument that is called otherwise today; None where there is none."""
    for argument in arguments:
        today = renamed(argument)
        if today is not None:
            return f"'{argument}' has another name today; give {today}"
    return None
