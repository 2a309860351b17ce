"""Start all paths of TDNet from one trained single-image network."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from src.errors import UserError
from src.models.bisenet.net import BiSeNet
from src.models.pspnet.net import PSPNet
from src.models.tdnet.net import TDNet
from src.models.tdnet.paths import BisePath, PSPPath, group_channels


def start_from_image_network(net: TDNet, image: nn.Module) -> None:
    """Copy a trained PSPNet or BiSeNet into every path of a TDNet on paths of that kind (official code).

    From a PSPNet, backbones become equal and pyramids take their group's channels. Where the widths allow it,
    auxiliary heads become equal and heads take the group's share of the 3x3 convolution (TD4-PSP18). From a
    BiSeNet, context paths become equal. Encodings, projections and normalisations stay as they are.

    Raises:
        UserError: the two networks are not of one kind, or differ in backbone or number of classes.
    """
    for path in net.paths:
        if isinstance(path, PSPPath) and isinstance(image, PSPNet):
            _start_path(path, image)
        elif isinstance(path, BisePath) and isinstance(image, BiSeNet):
            path.context.load_state_dict(image.context.state_dict())
        else:
            raise UserError(
                f"{type(path).__name__} cannot start from a {type(image).__name__}; "
                "PSPPath takes a PSPNet at stride 8, BisePath a BiSeNet"
            )


def _start_path(path: PSPPath, image: PSPNet) -> None:
    if path.backbone.channels != image.backbone.channels or path.num_classes != image.num_classes:
        raise UserError(
            f"paths on ResNet-{path.backbone.depth} with {path.num_classes} classes cannot start from a "
            f"PSPNet on ResNet-{image.backbone.depth} with {image.num_classes}; give one of the same kind"
        )
    path.backbone.load_state_dict(image.backbone.state_dict())
    pooled = image.backbone.channels[-1] // 4
    kept = slice(path.group * pooled // path.groups, (path.group + 1) * pooled // path.groups)
    pyramid = {k: _rows(v, kept, pooled) for k, v in image.pyramid.state_dict().items()}
    path.pyramid.load_state_dict(pyramid)
    _start_head(path, image)
    if path.aux is not None and image.aux is not None:
        _load_if_it_fits(path.aux, image.aux.state_dict())


def _start_head(path: PSPPath, image: PSPNet) -> None:
    deep = image.backbone.channels[-1]
    channels = group_channels(deep, path.groups, path.group)
    convolution = cast(nn.Conv2d, image.head[0]).weight[:, channels]
    classifier = {f"4.{k}": v for k, v in image.final_conv.state_dict().items()}
    _load_if_it_fits(path.head, {**image.head.state_dict(), "0.weight": convolution, **classifier})


def _load_if_it_fits(module: nn.Module, state: dict[str, Tensor]) -> None:
    if all(state[key].shape == value.shape for key, value in module.state_dict().items()):
        module.load_state_dict(state)


def _rows(value: Tensor, kept: slice, rows: int) -> Tensor:
    return value[kept] if value.ndim and value.shape[0] == rows else value
