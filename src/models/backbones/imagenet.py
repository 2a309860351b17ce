"""ImageNet initialisation of a ResNet."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from src.errors import UserError
from src.tensor_files.read import read_state_dict


def load_backbone(backbone: nn.Module, depth: int, deep_stem: bool, weights: str) -> None:
    """Fill a ResNet from `weights`.

    Args:
        backbone: the ResNet, changed in place.
        depth: of the ResNet.
        deep_stem: form of its stem, see `ResNet`.
        weights: "none" (keep the random initialisation), "imagenet" (torchvision's weights through timm, or
            GluonCV's where the stem is deep; downloaded once), or the path of a state dict in torchvision's
            layout, whose ImageNet classifier `fc` is left aside.

    Raises:
        UserError: no such file, a file of another network, or no way to fetch the weights.
    """
    if weights == "none":
        return
    state = _download(depth, deep_stem) if weights == "imagenet" else read_weights(weights)
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"weights '{weights}' do not fit a ResNet-{depth} in torchvision's layout "
            f"({_first_detail(error)}); give the state dict of the same network"
        ) from error


def _download(depth: int, deep_stem: bool) -> dict[str, Tensor]:
    # timm is needed only here, and importing it takes seconds.
    import timm

    name = f"resnet{depth}s.gluon_in1k" if deep_stem else f"resnet{depth}.tv_in1k"
    try:
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        raise UserError(
            f"weights=imagenet: timm could not fetch '{name}' ({type(error).__name__}); "
            "give the path of its state dict as weights, or weights=none"
        ) from error
    return state


def read_weights(weights: str) -> dict[str, Tensor]:
    """Read a file of weights: a state dict, or a checkpoint around one.

    Raises:
        UserError: no such file, a damaged one, or not a state dict of finite weights.
    """
    if not isinstance(weights, str) or not Path(weights).is_file():
        raise UserError(f"weights '{weights}' is neither 'imagenet', 'none' nor a file; give one of them")
    return read_state_dict(weights, "give a whole state dict as weights")


def _first_detail(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1][:200] if len(lines) > 1 else lines[0][:200]
