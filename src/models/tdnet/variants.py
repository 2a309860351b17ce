"""The networks of the paper."""

from __future__ import annotations

from src.errors import check_choice, check_range
from src.models.tdnet.direct import DirectTDNet
from src.models.tdnet.net import TDNet
from src.models.tdnet.paths import BisePath, FAPath, PSPPath

MOST_PATHS = 16
PROPAGATIONS = {"chain": TDNet, "direct": DirectTDNet}
GROUPS = 2  # of channels; with four paths, every other one has the same (official code)


def td4_psp18(
    num_classes: int,
    subsampling: int = 4,
    norm_size: tuple[int, int] = (97, 193),
    auxiliary: bool = True,
    weights: str = "none",
    num_paths: int = 4,
    groups: int = GROUPS,
    shared: bool = False,
    propagation: str = "chain",
) -> TDNet:
    """TD4-PSP18: four paths on dilated ResNet-18.

    Args:
        num_classes: K.
        subsampling: n of the paper.
        norm_size: of the maps of `SpatialNorm`.
        auxiliary: with auxiliary heads for training.
        weights: ImageNet initialisation, see `load_backbone`.
        num_paths: m, 2 to 16, for comparisons with fewer or more paths.
        groups: of channels, which the paths take in turn; distillation needs a divisor of their number.
        shared: all paths have one backbone, an ablation; the paper does not say which parts are shared there.
        propagation: "chain", or the ablation "direct", see `DirectTDNet`.

    Raises:
        UserError: another number of paths or groups, or another propagation.
    """
    check_range(2 <= num_paths <= MOST_PATHS, "network.num_paths", num_paths, f"2 to {MOST_PATHS}")
    check_range(1 <= groups <= num_paths, "network.arguments.groups", groups, f"1 to {num_paths}")
    check_choice("network.arguments.propagation", propagation, PROPAGATIONS)
    form = (18, 512, 128, norm_size, auxiliary, weights)
    paths = [PSPPath(num_classes, i % groups, groups, *form) for i in range(num_paths)]
    for path in paths[1:] if shared else ():
        path.backbone = paths[0].backbone
    return PROPAGATIONS[propagation](paths, subsampling=subsampling)


def td2_psp50(
    num_classes: int,
    subsampling: int = 4,
    norm_size: tuple[int, int] = (97, 193),
    auxiliary: bool = True,
    weights: str = "none",
) -> TDNet:
    """TD2-PSP50: two paths on dilated ResNet-50 with a deep stem; arguments as for `td4_psp18`."""
    form = (50, 512, 256, norm_size, auxiliary, weights)
    paths = [PSPPath(num_classes, i, GROUPS, *form) for i in range(GROUPS)]
    return TDNet(paths, subsampling=subsampling)


def td4_bise18(num_classes: int, subsampling: int = 5, auxiliary: bool = True, weights: str = "none") -> TDNet:
    """TD4-Bise18: four paths of a BiSeNet on ResNet-18; arguments as for `td4_psp18`."""
    paths = [BisePath(num_classes, i % GROUPS, auxiliary, weights) for i in range(4)]
    return TDNet(paths, subsampling=subsampling)


def td2_fa18(
    num_classes: int, subsampling: int = 3, norm_size: tuple[int, int] = (96, 192), weights: str = "none"
) -> TDNet:
    """TD2-FA18: two paths of FANet-18, which has no auxiliary head; arguments as for `td4_psp18`."""
    paths = [FAPath(num_classes, norm_size, weights) for _ in range(2)]
    return TDNet(paths, subsampling=subsampling)
