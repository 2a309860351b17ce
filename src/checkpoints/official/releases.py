"""The official releases: the network that each one is here, and the names of its parameters there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from torch import Tensor

from src.checkpoints.official.names import (
    BISENET,
    GCNET,
    PSP_CAMVID,
    PSP_CITYSCAPES,
    PSP_TEACHER,
    KeyMap,
    efficientvit,
    high_branch,
    low_branch,
    tdnet,
)
from src.data.images import IMAGENET

Normalisation = tuple[float, float, float]

MERGED = ".reparam_"  # in the name of every convolution that a deployed network merged
BLOCKS = {  # of RDRNet and GCNet by name, and whether it is the large one: of stem, semantic and detail stages
    ("rdrnet", False): ([4, 3], [5, 5, 1], [4, 4, 1]),
    ("rdrnet", True): ([6, 5], [7, 7, 2], [6, 6, 2]),
    ("gcnet", False): ([4, 4], [5, 5, 2], [4, 4, 2]),
    ("gcnet", True): ([5, 5], [5, 5, 3], [5, 5, 3]),
}


@dataclass(frozen=True)
class Release:
    """One official network.

    Attributes:
        network: name and arguments in `src.models.registry`, in training form.
        keys: names in the release's file.
        key_branch: names in the file of AR-Seg's high-resolution branch; None for networks of one file.
        dataset: whose classes it predicts.
        num_classes: K.
        mean: of RGB in 0..1, subtracted first.
        std: divided by afterwards.
        adapt: turns a tensor of the release into that of the network here, given its name here.
        deployable: also released in the form that its re-parameterisable blocks merge to.
    """

    network: dict[str, Any]
    keys: KeyMap
    key_branch: KeyMap | None = None
    dataset: str = "cityscapes"
    num_classes: int = 19
    mean: Normalisation = IMAGENET.mean
    std: Normalisation = IMAGENET.std
    adapt: Callable[[str, Tensor], Tensor] = lambda local, value: value
    deployable: bool = False

    def form(self, names: Iterable[str]) -> dict[str, Any]:
        """Name and arguments of the network in the form that the names of a state dict belong to."""
        if self.deployable and any(MERGED in name for name in names):
            return {**self.network, "name": f"{self.network['name']}_deployed"}
        return self.network


CAMVID_STATISTICS = (0.39068785, 0.40521392, 0.41434407), (0.29652068, 0.30514979, 0.30080369)
BISENET_STATISTICS = (0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115)
IMAGENET_STATISTICS = IMAGENET.mean, IMAGENET.std


def _arseg(
    branch: dict[str, Any],
    keys: KeyMap,
    dataset: str,
    statistics: tuple[Normalisation, Normalisation],
    outputs: str = "logits",
) -> Release:
    network = {"name": "arseg", "arguments": {"network": branch, "legacy": outputs}}
    classes: int = branch["arguments"]["num_classes"]
    return Release(network, low_branch(keys), high_branch(keys), dataset, classes, *statistics)


def _tdnet_tensor(local: str, value: Tensor) -> Tensor:
    """One half of the pyramid's channels, the others being computed and thrown away in the official code.

    Paths 1 and 3 keep the first half, 2 and 4 the second. Its projections are 1x1 convolutions, linear here.
    """
    if ".pyramid." in local and value.dim() > 0:
        return value.chunk(2)[int(local.split(".")[1]) % 2]
    return value.flatten(1) if local.endswith("linear.weight") else value


def _tdnet(variant: str, paths: int, pairs: dict[str, str]) -> Release:
    return Release(_network(variant, 19, auxiliary=False), tdnet(paths, pairs), adapt=_tdnet_tensor)


def _two_branch(name: str, keys: KeyMap, width: int, head_channels: int, large: bool = False) -> Release:
    """A release of RDRNet or GCNet."""
    stem, semantic, detail = BLOCKS[name, large]
    blocks = {"stem_blocks": stem, "semantic_blocks": semantic, "detail_blocks": detail}
    return Release(_network(name, 19, width=width, head_channels=head_channels, **blocks), keys, deployable=True)


def _efficientvit(variant: str) -> Release:
    large = variant.startswith("l")
    return Release(_network("efficientvit_seg", 19, variant=variant), efficientvit(large, widened=not large))


def _network(name: str, num_classes: int, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": {"num_classes": num_classes, **arguments}}


# the release has no training head
PSP_101 = _network("pspnet", 19, depth=101, dilation="multigrid", deep_stem=True, aux_channels=None)
FOUR_PATHS = permutations(range(4), 2)

RELEASES: dict[str, Release] = {
    "arseg_camvid_psp18": _arseg(
        _network("pspnet_camvid", 12), PSP_CAMVID, "camvid", CAMVID_STATISTICS, "log_probabilities"
    ),
    "arseg_camvid_bise18": _arseg(_network("bisenet", 12), BISENET, "camvid", CAMVID_STATISTICS),
    "arseg_cityscapes_psp18": _arseg(
        _network("pspnet", 19), PSP_CITYSCAPES, "cityscapes", IMAGENET_STATISTICS, "coarse_logits"
    ),
    "arseg_cityscapes_bise18": _arseg(_network("bisenet", 19), BISENET, "cityscapes", BISENET_STATISTICS),
    "pspnet101": Release(PSP_101, PSP_TEACHER),
    "tdnet_td4_psp18": _tdnet("td4_psp18", 4, {f"atn{i + 1}_{j + 1}": f"{i}_{j}" for i, j in FOUR_PATHS}),
    "tdnet_td2_psp50": _tdnet("td2_psp50", 2, {"atn1": "0_1", "atn2": "1_0"}),
    "rdrnet_s_simple": _two_branch("rdrnet", {}, 32, 64),
    "rdrnet_s": _two_branch("rdrnet", {}, 32, 128),
    "rdrnet_m": _two_branch("rdrnet", {}, 64, 128),
    "rdrnet_l": _two_branch("rdrnet", {}, 64, 256, large=True),
    **{f"efficientvit_seg_{variant}": _efficientvit(variant) for variant in ("b0", "b1", "b2", "b3", "l1", "l2")},
    "gcnet_s": _two_branch("gcnet", GCNET, 32, 64),
    "gcnet_m": _two_branch("gcnet", GCNET, 64, 128),
    "gcnet_l": _two_branch("gcnet", GCNET, 64, 256, large=True),
}
