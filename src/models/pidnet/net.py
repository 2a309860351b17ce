"""PIDNet (Xu et al. 2023, arXiv 2206.02066): detail (P), context (I) and boundary (D) branch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.ddrnet.net import plain_stem
from src.models.layers import ConvNormAct, initialise
from src.models.rdrnet.backbone import resize_like
from src.models.rdrnet.layers import NormConv, basic_blocks, bottlenecks
from src.models.rdrnet.net import BranchSegmenter, Head, HeadFeatures
from src.models.rdrnet.pooling import DAPPM, PAPPM


class PIDNet(BranchSegmenter):
    """PIDNet-S (`width` 32), -M (64) or -L (64, `deep`): proportional, integral and derivative branch.

    Layer shapes follow the RDRNet authors' re-implementation, which the published comparison used.

    Args:
        num_classes: K.
        width: c.
        head_channels: C of the features.
        pooling_channels: width of each scale of the pyramid pooling.
        deep: PIDNet-L: a block more in each stage, a D branch of full width, DAPPM and Bag.
    """

    def __init__(
        self,
        num_classes: int,
        width: int = 32,
        head_channels: int = 128,
        pooling_channels: int = 96,
        deep: bool = False,
    ) -> None:
        head = BoundaryHead(width, head_channels, num_classes)
        super().__init__(ThreeBranch(width, pooling_channels, deep), head)


class ThreeBranch(nn.Module):
    """The body of the PIDNets (PIDNet table 2, figure 4).

    Args:
        width: c.
        pooling_channels: width of each scale of the pyramid pooling.
        deep: PIDNet-L.
    """

    def __init__(self, width: int, pooling_channels: int, deep: bool) -> None:
        super().__init__()
        c, few, more = width, 2 + deep, 3 + deep
        self.stem = plain_stem(c, few)
        self.i_branch_layers = nn.ModuleList(
            [
                basic_blocks(2 * c, 4 * c, more, 2),
                basic_blocks(4 * c, 8 * c, more, 2),
                bottlenecks(8 * c, 8 * c, 2, 2),
            ]
        )
        self.p_branch_layers = nn.ModuleList(
            [
                basic_blocks(2 * c, 2 * c, few, 1),
                basic_blocks(2 * c, 2 * c, few, 1),
                bottlenecks(2 * c, 2 * c, 1, 1),
            ]
        )
        d = 2 * c if deep else c
        second = basic_blocks(d, d, 1, 1) if deep else bottlenecks(d, d, 1, 1)
        self.d_branch_layers = nn.ModuleList([basic_blocks(2 * c, d, 1, 1), second, bottlenecks(2 * c, 2 * c, 1, 1)])
        self.compression_1 = ConvNormAct(4 * c, 2 * c, 1, active=False)
        self.compression_2 = ConvNormAct(8 * c, 2 * c, 1, active=False)
        self.pag_1, self.pag_2 = PagFM(2 * c, c), PagFM(2 * c, c)
        self.diff_1 = ConvNormAct(4 * c, d, 3, active=False)
        self.diff_2 = ConvNormAct(8 * c, 2 * c, 3, active=False)
        self.spp = (DAPPM if deep else PAPPM)(16 * c, pooling_channels, 4 * c)
        self.dfm = Bag(4 * c) if deep else LightBag(4 * c)
        initialise(self, zero_bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """An image (B, 3, H, W) to the merged map (B, 4c, H/8, W/8) and its taps at the same size.

        "detail" (B, 2c) is the P branch after the first fusion, "boundary" (B, 2c) the D branch after the
        second.
        """
        x = self.stem(x)
        context = F.relu(self.i_branch_layers[0](x))
        detail = self.pag_1(self.p_branch_layers[0](x), self.compression_1(context))
        boundary = self.d_branch_layers[0](x)
        boundary = boundary + resize_like(self.diff_1(context), boundary)
        taps = {"detail": detail}
        context = F.relu(self.i_branch_layers[1](context))
        detail = self.pag_2(self.p_branch_layers[1](F.relu(detail)), self.compression_2(context))
        boundary = self.d_branch_layers[1](F.relu(boundary))
        boundary = boundary + resize_like(self.diff_2(context), boundary)
        taps["boundary"] = boundary
        detail = self.p_branch_layers[2](F.relu(detail))
        boundary = self.d_branch_layers[2](F.relu(boundary))
        context = resize_like(self.spp(self.i_branch_layers[2](context)), detail)
        return self.dfm(detail, context, boundary), taps


class PagFM(nn.Module):
    """Pixel-attention-guided fusion: detail takes over context where both agree (PIDNet section 3.2, Pag)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.f_i = ConvNormAct(channels, width, 1, active=False)
        self.f_p = ConvNormAct(channels, width, 1, active=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Detail (B, C, h, w) and context (B, C, h', w') of lower resolution to (B, C, h, w)."""
        agreement = (self.f_p(detail) * resize_like(self.f_i(context), detail)).sum(1, keepdim=True)
        share = torch.sigmoid(agreement)
        fused: Tensor = detail + share * (resize_like(context, detail) - detail)  # lerp takes operands of one type only
        return fused


class Bag(nn.Module):
    """Boundary-attention-guided merge of the branches by one 3x3 convolution (PIDNet section 3.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = NormConv(channels, channels, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Three maps (B, C, h, w) to one: detail at boundaries, context elsewhere."""
        edge = torch.sigmoid(boundary)
        merged: Tensor = self.conv(edge * detail + (1 - edge) * context)
        return merged


class LightBag(nn.Module):
    """Boundary-attention-guided merge of the branches (PIDNet section 3.4, Light-Bag)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f_p = ConvNormAct(channels, channels, 1, active=False)
        self.f_i = ConvNormAct(channels, channels, 1, active=False)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Three maps (B, C, h, w) to one: detail counts at boundaries, context elsewhere."""
        edge = torch.sigmoid(boundary)
        merged: Tensor = self.f_p((1 - edge) * context + detail) + self.f_i(context + edge * detail)
        return merged


class BoundaryHead(Head):
    """RDRNet's head and a second training-only part: one boundary logit per pixel from the D branch."""

    def __init__(self, width: int, channels: int, num_classes: int) -> None:
        super().__init__(4 * width, 2 * width, channels, num_classes)
        self.d_head = HeadFeatures(2 * width, width)
        self.d_cls_seg = nn.Conv2d(width, 1, 1)
        initialise(self)

    def auxiliary(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """ "aux" (B, K, h, w) and "boundary" (B, 1, h, w) logits of the taps of the same size."""
        return super().auxiliary(taps) | {"boundary": self.d_cls_seg(self.d_head(taps["boundary"]))}
