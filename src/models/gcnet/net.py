"""GCNet (Yang et al. 2025, "Golden Cudgel Network for Real-Time Semantic Segmentation")."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from src.models.layers import ConvNormAct, initialise
from src.models.rdrnet.backbone import TwoBranch
from src.models.rdrnet.net import BranchSegmenter, Head
from src.models.rdrnet.pooling import DAPPM
from src.models.rdrnet.reparam import ParallelBlock, StackedConvs


class GCNet(BranchSegmenter):
    """GCNet in training form; `src.models.deploy.inference_form` gives the inference form.

    RDRNet's body with `GCBlock`s alone behind two plain convolutions, and DAPPM. The three published variants differ
    in `width`, block counts and `head_channels`. Block counts are of all blocks of a stage, the one of stride 2 too.

    Args:
        num_classes: K.
        width: c, 32 (S) or 64 (M, L).
        stem_blocks: of stages 2 and 3.
        semantic_blocks: of stages 4 to 6.
        detail_blocks: the same of the detail branch.
        head_channels: C of the features.
        pooling_channels: width of each scale of the pyramid pooling.
    """

    def __init__(
        self,
        num_classes: int,
        width: int,
        stem_blocks: Sequence[int],
        semantic_blocks: Sequence[int],
        detail_blocks: Sequence[int],
        head_channels: int,
        pooling_channels: int = 128,
    ) -> None:
        stem = nn.Sequential(
            ConvNormAct(3, width, 3, stride=2),
            ConvNormAct(width, width, 3, stride=2),
            *stage(width, width, stem_blocks[0], 1),
            *stage(width, 2 * width, stem_blocks[1], 2),
        )
        # The official ReLU works in place, so the fusions add maps that it has rectified: stages 4 and 5 end in it.
        semantic = [
            stage(factor * width, 2 * factor * width, blocks, 2, active=factor < 8)
            for factor, blocks in zip((2, 4, 8), semantic_blocks, strict=True)
        ]
        detail = [
            stage(2 * width, factor * width, blocks, 1, active=factor < 4)
            for factor, blocks in zip((2, 2, 4), detail_blocks, strict=True)
        ]
        pooling = DAPPM(16 * width, pooling_channels, 4 * width)
        backbone = TwoBranch(width, stem, semantic, detail, pooling, True, True)
        initialise(backbone, zero_bias=True)
        super().__init__(backbone, Head(4 * width, 2 * width, head_channels, num_classes))


class GCBlock(ParallelBlock):
    """Two 3x3-1x1 paths, a 1x1-1x1 path and, where shapes allow, a batch norm, summed; then ReLU if `active`."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, active: bool = True) -> None:
        paths = {
            name: StackedConvs(inputs, outputs, kernel, stride, bias=False)
            for name, kernel in (("path_3x3_1", 3), ("path_3x3_2", 3), ("path_1x1", 1))
        }
        super().__init__(inputs, outputs, stride, active, **paths)


def stage(inputs: int, outputs: int, blocks: int, stride: int, active: bool = True) -> nn.Sequential:
    """`blocks` blocks, the first with `stride`; the last one ends in ReLU if `active`."""
    entry = GCBlock(inputs, outputs, stride, active or blocks > 1)
    later = [GCBlock(outputs, outputs, active=active or i < blocks - 1) for i in range(1, blocks)]
    return nn.Sequential(entry, *later)
