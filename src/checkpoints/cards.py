"""Checkpoints of format 1, whose card names classes by their path: read through one table, nothing is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from src.checkpoints.metadata import FORMAT, data_options

KEY = "card"  # in the file

# Class path in a card -> name in `src.models.registry`.
NETWORKS = {
    "src.models.timm_segmenter.net.TimmSegmenter": "timm",
    "src.models.timm_segmenter.TimmSegmenter": "timm",
    "src.models.bisenet.net.BiSeNet": "bisenet",
    "src.models.ddrnet.net.DDRNet": "ddrnet",
    "src.models.dfanet.net.DFANet": "dfanet",
    "src.models.dfanet.backbone.Xception": "xception",
    "src.models.pidnet.net.PIDNet": "pidnet",
    "src.models.pidnet.backbone.PIDNet": "pidnet",
    "src.models.pspnet.net.PSPNet": "pspnet",
    "src.models.pspnet.net.PSPNetFull": "pspnet_camvid",
    "src.models.rdrnet.net.RDRNet": "rdrnet",
    "src.models.tdnet.variants.td4_psp18": "td4_psp18",
    "src.models.tdnet.variants.td2_psp50": "td2_psp50",
    "src.models.tdnet.variants.td4_bise18": "td4_bise18",
    "src.models.tdnet.variants.td2_fa18": "td2_fa18",
}
ARSEG = "src.models.arseg.net.ARSeg"
DEPLOYED = ("src.models.rdrnet.deploy.deploy", "src.models.deploy.reparameterise.deploy")
# Last part of a data set's class path -> its configuration.
SOURCES = {
    "CamVid": "camvid",
    "Street": "street",
    "Cityscapes": "cityscapes",
    "Folder": "folder",
    "Voc": "voc2012",
    "ClassFolders": "class_folders",
}
VIDEO = {"codec": "h264", "motion": "exact"}  # where a card leaves them out
CLIPS = {"ClipsFromFilms": "films", "ClipsAtLabels": "labelled", "ClipsFromStills": "stills"}
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
MOST_HOPS = 10  # from reference to reference


def metadata_of_card(card: Any) -> dict[str, Any]:
    """Express a card in today's format; `src.checkpoints.metadata.check_metadata` checks the result.

    Raises:
        ValueError: a card that this project did not write, or a network that is not one of its own.
    """
    if not isinstance(card, Mapping):
        raise ValueError("its card is not a mapping")
    config = _mapping(card.get("resolved") or card.get("config"), "config")
    model, phase = _mapping(config.get("model"), "config.model"), str(card.get("phase"))
    spec = _mapping(_mapping(model.get("phases"), "config.model.phases").get(phase), f"phase {phase}")
    module = _looked_up(config, spec.get("module"))
    node = _looked_up(config, _mapping(module, "module").get("net"))
    data, video = config.get("data"), _mapping(_looked_up(config, config.get("video")), "config.video")
    return {
        "format": FORMAT,
        "network": _network(config, node),
        "phase": phase,
        "lr_scale": _looked_up(config, module.get("lr_scale", model.get("lr_scale", 1.0))),
        "classes": card.get("classes"),
        "normalisation": card.get("normalisation"),
        "fit": _fit(config),
        "video": {**VIDEO, **{key: _looked_up(config, value) for key, value in video.items()}},
        "seed": config.get("seed", 0),
        "data": _data(data),
        "config": dict(config),
        "source": card.get("source"),
    }


def _network(config: Mapping[str, Any], node: Any) -> dict[str, Any]:
    """Name and arguments of a network that a configuration node described by the path of its class."""
    node = dict(_mapping(_looked_up(config, node), "network"))
    if {"name", "arguments"} <= node.keys():
        return {"name": node["name"], "arguments": node["arguments"]}
    target = node.pop("_target_", None)
    if target == ARSEG:
        return _arseg(config, node)
    if target in DEPLOYED:
        inner = _network(config, node.get("net"))
        if inner["name"] != "rdrnet":
            raise ValueError("only RDRNet has a deployed form")
        return {**inner, "name": "rdrnet_deployed"}
    if target not in NETWORKS:
        raise ValueError(f"it names '{str(target)[:80]}' as its network, which is no network of this project")
    return {"name": NETWORKS[target], "arguments": {key: _looked_up(config, value) for key, value in node.items()}}


def _arseg(config: Mapping[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    high, low = (_network(config, node.pop(branch, None)) for branch in ("high", "low"))
    if high != low:
        raise ValueError("AR-Seg's branches are not of one kind")
    fusion = dict(_mapping(_looked_up(config, node.pop("fusion", None)), "fusion"))
    for key in ("_target_", "channels", "legacy"):  # known from the branches and from AR-Seg's own `legacy`
        fusion.pop(key, None)
    arguments = {key: _looked_up(config, value) for key, value in node.items()}
    return {"name": "arseg", "arguments": {"network": high, "fusion": fusion, **arguments}}


def _data(data: Any) -> dict[str, Any] | None:
    """The configuration group of the data set, and its options; values that refer to others are left out."""
    source = data.get("source") if isinstance(data, Mapping) else None
    target = source.get("_target_") if isinstance(source, Mapping) else None
    name = SOURCES.get(str(target).rpartition(".")[2])
    if not isinstance(data, Mapping) or not isinstance(source, Mapping) or name is None:
        return None
    if name == "camvid" and source.get("films") is True:
        name = "camvid_films"
    module, groups = data.get("module"), {}
    for key in ("clips", "val_clips"):
        clips = module.get(key) if isinstance(module, Mapping) else None
        kind = str(clips.get("_target_")).rpartition(".")[2] if isinstance(clips, Mapping) else ""
        if kind in CLIPS:
            groups[f"data/clips@data.module.{key}"] = CLIPS[kind]
    return {"name": name, "groups": groups, "options": data_options(data)}


def _fit(config: Mapping[str, Any]) -> dict[str, Any] | None:
    data = config.get("data")
    fit = data.get("fit") if isinstance(data, Mapping) else None
    return {key: fit.get(key) for key in ("short", "long")} if isinstance(fit, Mapping) else None


def _looked_up(config: Mapping[str, Any], value: Any) -> Any:
    """Look up a reference such as ${model.num_classes}; any other value stays as it is."""
    for _ in range(MOST_HOPS):
        found = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return value
        place: Any = config
        for key in found[1].split("."):
            if not isinstance(place, Mapping) or key not in place:
                raise ValueError(f"'{value[:60]}' refers to nothing in its configuration")
            place = place[key]
        value = place
    raise ValueError(f"'{str(value)[:60]}' refers to itself")


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"its {place[:60]} is not a mapping")
    return value
