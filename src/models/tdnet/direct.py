"""TDNet with attention from the current frame to each past one, in place of propagation from frame to frame."""

from __future__ import annotations

from torch import Tensor

from src.models.tdnet.net import TDNet
from src.models.tdnet.propagation import TDNetState, attention_map, tokens


class DirectTDNet(TDNet):
    """The paper's first formula, an ablation: V' = V + sum over past frames of phi(softmax(Q k^T / sqrt(d)) v).

    Arguments are those of `TDNet`. In the place of maps the state keeps (B, P, key channels) of the frames before the
    last, oldest first.
    """

    def _remember(self, state: TDNetState, query: Tensor, key: Tensor, value: Tensor) -> TDNetState:
        """The state with the subsampled key and value of one frame more."""
        keep = self.num_paths - 1
        keys = (*state.maps, *(() if state.key is None else (state.key,)))
        keys = keys[max(len(keys) - keep + 1, 0) :]
        return TDNetState((state.path + 1) % self.num_paths, key, (*state.values, value)[-keep:], keys)

    def _recall(self, query: Tensor, state: TDNetState) -> Tensor:
        """Gather values (B, value channels, h, w) from each past frame by the current frame's query (B, C, h, w)."""
        assert state.key is not None
        reader, positions = state.path, tokens(query)
        gathered: list[Tensor] = [
            self.projections[f"{reader}_{(reader + 1 + age) % self.num_paths}"](attention_map(positions, key), value)
            for age, (key, value) in enumerate(zip((*state.maps, state.key), state.values, strict=True))
        ]
        total = gathered[0]
        for one in gathered[1:]:
            total = total + one
        return total.transpose(1, 2).reshape(query.shape[0], -1, *query.shape[-2:])
