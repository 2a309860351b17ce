"""The two-branch body of RDRNet, DDRNet and GCNet: stem, semantic and detail branch, two bilateral fusions."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from src.models.layers import ConvNormAct, initialise
from src.models.rdrnet.layers import bottlenecks, set_batchnorm
from src.models.rdrnet.reparam import ReparamBlock
from src.ops.resize import resize, size_of


class TwoBranch(nn.Module):
    """Stages 4-6 and the merge, behind a stem to 2c channels at stride 8 (RDRNet figure 2, DDRNet figure 4).

    The paper's ablation switches a bilateral fusion off as a whole and leaves open whether one direction
    stays. Here both directions go, with their convolutions.

    Args:
        width: c.
        stem: (B, 3, H, W) to (B, 2c, H/8, W/8).
        semantic: stages 4 to 6, 2c -> 4c -> 8c -> 16c channels at strides 16, 32 and 64. Stages 4 and 5 may end
            without their ReLU, which then follows the fusion.
        detail: stages 4 to 6, 2c, 2c and 4c channels at stride 8, the same.
        pooling: 16c -> 4c channels at stride 64.
        fusion_1: exchange between the branches after stage 4.
        fusion_2: the same after stage 5.
    """

    def __init__(
        self,
        width: int,
        stem: nn.Module,
        semantic: Sequence[nn.Module],
        detail: Sequence[nn.Module],
        pooling: nn.Module,
        fusion_1: bool,
        fusion_2: bool,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.semantic_branch_layers = nn.ModuleList(semantic)
        self.detail_branch_layers = nn.ModuleList(detail)
        self.fusion_1, self.fusion_2 = fusion_1, fusion_2
        if fusion_1:
            self.compression_1 = ConvNormAct(4 * width, 2 * width, 1, active=False)
            self.down_1 = ConvNormAct(2 * width, 4 * width, 3, stride=2, active=False)
        if fusion_2:
            self.compression_2 = ConvNormAct(8 * width, 2 * width, 1, active=False)
            self.down_2 = nn.Sequential(
                ConvNormAct(2 * width, 4 * width, 3, stride=2),
                ConvNormAct(4 * width, 8 * width, 3, stride=2, active=False),
            )
        self.spp = pooling

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """An image (B, 3, H, W) to the merged map (B, 4c, H/8, W/8) and "detail" (B, 2c, H/8, W/8) after fusion 1."""
        x = self.stem(x)
        semantic, detail = self.semantic_branch_layers[0](x), self.detail_branch_layers[0](x)
        if self.fusion_1:
            semantic, detail = exchange(semantic, detail, self.compression_1, self.down_1)
        taps = {"detail": detail}
        semantic = self.semantic_branch_layers[1](F.relu(semantic))
        detail = self.detail_branch_layers[1](F.relu(detail))
        if self.fusion_2:
            semantic, detail = exchange(semantic, detail, self.compression_2, self.down_2)
        semantic = self.spp(self.semantic_branch_layers[2](F.relu(semantic)))
        detail = self.detail_branch_layers[2](F.relu(detail))
        return detail + resize_like(semantic, detail), taps


def exchange(semantic: Tensor, detail: Tensor, compress: nn.Module, down: nn.Module) -> tuple[Tensor, Tensor]:
    """Bilateral fusion: each branch gets the other's map from before the exchange."""
    to_detail = resize_like(compress(F.relu(semantic)), detail)
    return semantic + down(F.relu(detail)), detail + to_detail


def resize_like(x: Tensor, target: Tensor) -> Tensor:
    """Resize `x` to the height and width of `target`, so that odd image sizes work."""
    return resize(x, size_of(target))


def bottleneck_stages(width: int, semantic: int, detail: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Stage 6 of the semantic and the detail branch in RDRNet and DDRNet, of so many bottlenecks."""
    # The official code wraps the first stage once more, which shows in its state dict.
    deepest = nn.Sequential(bottlenecks(8 * width, 8 * width, semantic, stride=2))
    return deepest, bottlenecks(2 * width, 2 * width, detail, stride=1)


def reparam_stage(inputs: int, outputs: int, blocks: int, down: bool, active: bool) -> nn.Sequential:
    """`blocks` stride-1 blocks, behind one of stride 2 if `down`; the last one ends in ReLU if `active`."""
    entry = [ReparamBlock(inputs, outputs, stride=2)] if down else []
    body = [ReparamBlock(outputs, outputs, active=active or i < blocks - 1) for i in range(blocks)]
    return nn.Sequential(*entry, *body)


def rdrnet_backbone(
    width: int,
    stem_blocks: Sequence[int],
    semantic_blocks: Sequence[int],
    detail_blocks: Sequence[int],
    pooling: nn.Module,
    fusion_1: bool,
    fusion_2: bool,
) -> TwoBranch:
    """RDRNet's body; batch norm constants and initialisation are those of the official code."""
    stem = nn.Sequential(
        ReparamBlock(3, width, stride=2),
        *reparam_stage(width, width, stem_blocks[0], down=True, active=True),
        *reparam_stage(width, 2 * width, stem_blocks[1], down=True, active=True),
    )
    semantic = [
        reparam_stage(2 * width, 4 * width, semantic_blocks[0], down=True, active=False),
        reparam_stage(4 * width, 8 * width, semantic_blocks[1], down=True, active=False),
    ]
    detail = [reparam_stage(2 * width, 2 * width, n, down=False, active=False) for n in detail_blocks[:2]]
    last = bottleneck_stages(width, semantic_blocks[2], detail_blocks[2])
    body = TwoBranch(width, stem, [*semantic, last[0]], [*detail, last[1]], pooling, fusion_1, fusion_2)
    initialise(body, zero_bias=True)
    set_batchnorm(body, momentum=0.03, eps=1e-3)
    return body
