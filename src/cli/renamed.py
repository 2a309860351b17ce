"""Answer former names of configuration keys and choices with the names of today."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Former override (a pattern of the whole argument) -> today's.
RENAMED: list[tuple[str, str]] = [
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
    (r"callbacks\.requeue(.*)", r"callbacks.signals\1"),
]
# Former choice of `model` -> today's `model` (None: by default) and `network`.
MODELS: list[tuple[str, str | None, str]] = [
    (r"dfanet_([ab])_classifier", "classifier", r"xception_\1"),
    (r"arseg_(\w+)", "arseg", r"\1"),
    (r"tdnet_(\w+)", "tdnet", r"\1"),
    (r"((?:bisenet|ddrnet|dfanet|pidnet|pspnet|rdrnet|timm)\w*)", None, r"\1"),
]
# Former key -> where its value comes from today.
DERIVED: list[tuple[str, str]] = [
    (r"((?:model|data)\.num_classes)(?:=.*)?", "the number of classes is that of the data set"),
    (r"(model\.fusion\.channels)(?:=.*)?", "the channels are those of the network's features"),
]


def renamed(argument: str) -> str | None:
    """Return what an argument of the command line is called today; None where its name did not change."""
    bare = argument.lstrip("+~")
    if bare.startswith("model="):
        return _renamed_models(bare.removeprefix("model=").split(","))
    for pattern, today in RENAMED:
        found = re.fullmatch(pattern, bare)
        if found:
            return found.expand(today)
    return None


def _renamed_models(names: Sequence[str]) -> str | None:
    """Return today's arguments for former choices of `model`, one set for each `model` of today among them."""
    networks: dict[str | None, list[str]] = {}
    for name in names:
        matches = ((re.fullmatch(pattern, name), model, network) for pattern, model, network in MODELS)
        found = next(((m.expand(network), model) for m, model, network in matches if m), None)
        if found:
            networks.setdefault(found[1], []).append(found[0])
        else:
            networks.setdefault(name, [])
    if not any(networks.values()):
        return None
    return " and, in a run of its own, ".join(
        " ".join([f"model={model}"] * (model is not None) + [f"network={','.join(found)}"] * bool(found))
        for model, found in networks.items()
    )


def renamed_arguments(arguments: Sequence[str]) -> str | None:
    """Return one line about the first argument that has another name or none today; None where there is none."""
    for argument in arguments:
        for pattern, origin in DERIVED:
            found = re.fullmatch(pattern, argument.lstrip("+~"))
            if found:
                return f"'{found[1]}' is not needed: {origin}; leave it out"
        today = renamed(argument)
        if today is not None:
            return f"'{argument}' has another name today; give {today}"
    return None
