"""PIDNet's body: detail (P), context (I) and boundary (D) branch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from src.models.ddrnet.net import plain_stem
from src.models.pidnet.fusion import LightBag, PagFM
from src.models.rdrnet.backbone import like
from src.models.rdrnet.layers import ConvNorm, basic_blocks, bottlenecks, initialise
from src.models.rdrnet.pooling import PAPPM


class ThreeBranch(nn.Module):
    """The form of PIDNet-S and PIDNet-M (PIDNet table 2, figure 4).

    Args:
        width: c.
        pooling_channels: width of each scale of the pyramid pooling.
    """

    def __init__(self, width: int, pooling_channels: int) -> None:
        super().__init__()
        c = width
        self.stem = plain_stem(c, 2)
        self.i_branch_layers = nn.ModuleList(
            [
                basic_blocks(2 * c, 4 * c, 3, 2),
                basic_blocks(4 * c, 8 * c, 3, 2),
                bottlenecks(8 * c, 8 * c, 2, 2),
            ]
        )
        self.p_branch_layers = nn.ModuleList(
            [
                basic_blocks(2 * c, 2 * c, 2, 1),
                basic_blocks(2 * c, 2 * c, 2, 1),
                bottlenecks(2 * c, 2 * c, 1, 1),
            ]
        )
        self.d_branch_layers = nn.ModuleList(
            [basic_blocks(2 * c, c, 1, 1), bottlenecks(c, c, 1, 1), bottlenecks(2 * c, 2 * c, 1, 1)]
        )
        self.compression_1 = ConvNorm(4 * c, 2 * c, 1, active=False)
        self.compression_2 = ConvNorm(8 * c, 2 * c, 1, active=False)
        self.pag_1, self.pag_2 = PagFM(2 * c, c), PagFM(2 * c, c)
        self.diff_1 = ConvNorm(4 * c, c, 3, active=False)
        self.diff_2 = ConvNorm(8 * c, 2 * c, 3, active=False)
        self.spp = PAPPM(16 * c, pooling_channels, 4 * c)
        self.dfm = LightBag(4 * c)
        initialise(self, zero_bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A picture to the merged map (B, 4c, H/8, W/8) and its taps at the same size.

        "detail" (B, 2c) is the P branch after the first fusion, "boundary" (B, 2c) the D branch after the
        second.
        """
        x = self.stem(x)
        context = F.relu(self.i_branch_layers[0](x))
        detail = self.pag_1(self.p_branch_layers[0](x), self.compression_1(context))
        boundary = self.d_branch_layers[0](x)
        boundary = boundary + like(self.diff_1(context), boundary)
        taps = {"detail": detail}
        context = F.relu(self.i_branch_layers[1](context))
        detail = self.pag_2(self.p_branch_layers[1](F.relu(detail)), self.compression_2(context))
        boundary = self.d_branch_layers[1](F.relu(boundary))
        boundary = boundary + like(self.diff_2(context), boundary)
        taps["boundary"] = boundary
        detail = self.p_branch_layers[2](F.relu(detail))
        boundary = self.d_branch_layers[2](F.relu(boundary))
        context = like(self.spp(self.i_branch_layers[2](context)), detail)
        return self.dfm(detail, context, boundary), taps
