"""Command `src.convert`: write the weights of an official release as a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.checkpoints.metadata import FORMAT, data_options, without_paths
from src.checkpoints.official.classes import CLASSES
from src.checkpoints.official.load import convert
from src.checkpoints.write import content_of, write_checkpoint
from src.cli.config import plain
from src.errors import UserError

PHASE = "converted"


def convert_release(config: DictConfig) -> Path:
    """Write the checkpoint that `load_checkpoint` reads, print its path and return it.

    Raises:
        UserError: see `src.checkpoints.official.load.convert`, or the output exists or cannot be written.
    """
    plain(config)
    output = Path(config.output)
    if output.exists():
        raise UserError(f"output '{output}' exists already; give another path, or remove it")
    key_source = None if config.key_source is None else Path(config.key_source)
    if not isinstance(config.source, str):
        raise UserError(f"source={config.source} names several files; give one")
    net, info = convert(config.name, Path(config.source), key_source)
    write_checkpoint(output, content_of(net, metadata_of(config, info)))
    print(f"checkpoint: {output}")
    return output


def metadata_of(config: DictConfig, info: dict[str, Any]) -> dict[str, Any]:
    """Describe the network, in the form of `src.checkpoints.metadata`.

    Args:
        config: of conf/convert.yaml.
        info: of `src.checkpoints.official.load.convert`.
    """
    resolved = plain(config)
    arguments = info["network"]["arguments"]
    return {
        "format": FORMAT,
        "network": info["network"],
        "phase": PHASE,
        "lr_scale": arguments.get("lr_scale", 0.5 if info["network"]["name"] == "arseg" else 1.0),
        "classes": CLASSES[info["dataset"]].as_dict(),
        "normalisation": {"mean": info["mean"], "std": info["std"]},
        "fit": None,
        "video": resolved["video"],
        "seed": resolved["seed"],
        "data": {"name": "camvid", "groups": {}, "options": data_options(resolved["data"])}
        if info["dataset"] == "camvid"
        else {"name": info["dataset"], "groups": {}, "options": {}},
        "config": without_paths(resolved),
        "source": {"release": info["name"], "files": info["sources"]},
    }
