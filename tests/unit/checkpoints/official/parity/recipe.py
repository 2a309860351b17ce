"""Weights and inputs that anyone can rebuild from names alone, shared with the runs of the official code.

A tensor's values follow from the CRC of its name: a state dict needs only `keys/<case>.json` (name: shape).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
ALIASES = {
    "bisenet": {"feat_conv_out.": "conv_out.conv.", "final_conv.": "conv_out.conv_out."},
    "pspnet_city": {"cls.4.": "final_conv."},
}


def canonical(key: str, family: str) -> str:
    """The name whose values an aliased key repeats."""
    for alias, name in ALIASES.get(family, {}).items():
        if key.startswith(alias):
            return name + key[len(alias) :]
    return key


def tensor_for(key: str, shape: tuple[int, ...]) -> Tensor:
    """Values of unit gain, so that activations neither vanish nor explode through a deep network."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif key.endswith(("running_mean", "bias")):
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1 or ".ln." in key:
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32)).reshape(shape)


def state_dict(case: str, family: str = "") -> dict[str, Tensor]:
    """The official state dict of `keys/<case>.json`."""
    shapes = json.loads((HERE / "keys" / f"{case}.json").read_text())
    return {key: tensor_for(canonical(key, family), tuple(shape)) for key, shape in shapes.items()}


def image(seed: int, height: int, width: int) -> Tensor:
    """A picture (1, 3, H, W) of normal noise."""
    values = np.random.default_rng(seed).standard_normal((1, 3, height, width))
    return torch.from_numpy(values.astype(np.float32))


def motion(seed: int, height: int, width: int) -> Tensor:
    """Motion (1, 2, H, W) in whole pixels, constant over blocks of 16."""
    blocks = np.random.default_rng(seed).integers(-12, 13, (height // 16, width // 16, 2))
    field = blocks.repeat(16, axis=0).repeat(16, axis=1).transpose(2, 0, 1)
    return torch.from_numpy(field.astype(np.float32))[None]


def stored(case: str) -> dict[str, np.ndarray]:
    """What the official code gave."""
    with np.load(HERE / f"{case}.npz") as file:
        return dict(file)
