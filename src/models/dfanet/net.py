"""DFANet (Li et al., CVPR 2019): one light backbone three times over, each reusing features of the one before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.errors import UserError, check_choice, check_range
from src.models.backbones.imagenet import read_weights
from src.models.base import Segmenter
from src.models.dfanet.aspp import ASPP
from src.models.dfanet.backbone import XCEPTION, Encoder, FirstEncoder, Levels
from src.models.layers import conv_norm_act
from src.ops.resize import resize, size_of

HEADS = ("decoder", "plain", "aspp")


class DFANet(Segmenter):
    """Deep feature aggregation over three Xceptions, and a decoder of 1x1 convolutions at stride 4.

    The paper leaves open where a block's stride is, when its shortcut is projected, and the decoder's width.
    This is the reading that comes closest to the published multiply-adds of all three networks: stride in the
    last separable convolution of a block, identity shortcuts only, decoder of 64 channels. With 19 classes:

    | variant | input | GMACs here / published | parameters here / published |
    |---|---|---|---|
    | A  | 1024x1024 | 3.52 / 3.4 | 1.66 M / 7.8 M |
    | A' |  512x1024 | 1.76 / 1.7 | 1.66 M / 7.8 M |
    | B  | 1024x1024 | 2.03 / 2.1 | 1.03 M / 4.8 M |

    The first backbone alone has 1.78 (A) and 0.92 (B) GMACs, published 1.6 and 0.83. A' is A on a smaller
    image. No reading of the paper's table 1 and figure 3 gives the published parameters.

    Args:
        num_classes: K.
        variant: "a" or "b", the backbone of paper table 1.
        width: channels of the decoder and of the features handed to `classify`.
        weights: "none", or the path of a checkpoint of its backbone as classifier, see `load_classifier`.
        towers: number of backbones, 1 to 3, an ablation.
        attention: false leaves the fc attention out, an ablation.
        head: "decoder"; or an ablation at stride 16 on the last backbone alone: "plain", a 1x1 convolution, or "aspp".

    Raises:
        UserError: an unknown variant or head, another number of backbones, or weights of another network.
    """

    def __init__(
        self,
        num_classes: int,
        variant: str = "a",
        width: int = 64,
        weights: str = "none",
        towers: int = 3,
        attention: bool = True,
        head: str = "decoder",
    ) -> None:
        super().__init__()
        check_range(1 <= towers <= 3, "network.arguments.towers", towers, "1, 2 or 3")
        check_choice("network.arguments.head", head, HEADS)
        self.feature_channels, self.num_classes, self.has_decoder = width, num_classes, head == "decoder"
        self.first = FirstEncoder(variant, attention)
        w = XCEPTION[variant]
        # a later backbone reads the attended enc4 beside enc2, then enc3 and enc4 of the one before
        inputs = (w.enc4 + w.enc2, w.enc2 + w.enc3, w.enc3 + w.enc4)
        self.later = nn.ModuleList(Encoder(w, inputs, attention) for _ in range(towers - 1))
        if self.has_decoder:
            self.low = nn.ModuleList(_unit(w.enc2, width) for _ in range(towers))
            self.merge = _unit(width, width)
            self.high = nn.ModuleList(_unit(w.enc4, width) for _ in range(towers))
        else:
            self.high = nn.ModuleList([ASPP(w.enc4, width) if head == "aspp" else _unit(w.enc4, width)])
        self.head = nn.Conv2d(width, num_classes, 1)
        if weights != "none":
            state = read_weights(weights)  # of a checkpoint of this project, or bare
            load_classifier(self, {key.removeprefix("net."): value for key, value in state.items()})

    @property
    def classifier(self) -> nn.Module:
        """The last 1x1 convolution."""
        return self.head

    def encode(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (B, width, ceil(H/4), ceil(W/4)); no taps, the paper has no auxiliary loss."""
        levels = self._aggregate(x)
        if not self.has_decoder:
            return self.high[0](levels[-1].attended), {}
        size = size_of(levels[0].enc2)
        low = [resize(f(found.enc2), size) for f, found in zip(self.low, levels, strict=True)]
        high = [resize(f(found.attended), size) for f, found in zip(self.high, levels, strict=True)]
        merged: Tensor = self.merge(torch.stack(low).sum(0))
        return torch.stack([merged, *high]).sum(0), {}

    def _aggregate(self, x: Tensor) -> list[Levels]:
        """The levels of the three backbones (paper figure 3), each half as large as the one before."""
        levels = [self.first.levels(x)]
        for encoder in self.later:
            before = levels[-1]
            again = torch.cat([resize(before.attended, size_of(before.enc2)), before.enc2], 1)
            levels.append(encoder(again, before))
        return levels


def load_classifier(net: DFANet, state: dict[str, Tensor]) -> None:
    """Start all three backbones from one ImageNet `Xception` state dict, its classifier in their attention.

    The first backbone takes all of it. The others take what fits: the first convolutions of their stages read
    more channels than the classifier's and keep their own initial weights.

    Raises:
        UserError: the state dict is not of this variant's `Xception`.
    """
    own = net.first.state_dict()
    wrong = [k for k, v in own.items() if k not in state or state[k].shape != v.shape]
    if wrong:
        shape = tuple(own[wrong[0]].shape)
        raise UserError(f"backbone weights lack '{wrong[0]}' of shape {shape}; give those of the same Xception")
    net.first.load_state_dict({key: state[key] for key in own})
    for encoder in net.later:
        fitting = encoder.state_dict()
        for key, mine in fitting.items():
            given = state[f"encoder.{key}"]
            fitting[key] = given if given.shape == mine.shape else mine
        encoder.load_state_dict(fitting)


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    return conv_norm_act(inputs, outputs, activation=nn.ReLU())
