"""SpatialNorm against PyTorch's own norms."""

from __future__ import annotations

import torch

from src.models.tdnet.paths import SpatialNorm


def test_is_layer_norm_over_space_at_its_own_size():
    torch.manual_seed(0)
    norm, reference = SpatialNorm((6, 9)), torch.nn.LayerNorm([6, 9])
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    reference.load_state_dict(norm.state_dict())
    x = torch.randn(2, 4, 6, 9)
    torch.testing.assert_close(norm(x), reference(x))


def test_is_instance_norm_at_any_size_before_it_is_trained():
    x = torch.randn(2, 4, 11, 3)
    torch.testing.assert_close(SpatialNorm((6, 9))(x), torch.nn.functional.instance_norm(x))


def test_maps_keep_their_corners_when_resized():
    norm = SpatialNorm((2, 2))
    norm.weight.data.zero_()
    norm.bias.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    out = norm(torch.randn(1, 1, 5, 7))[0, 0]
    assert [out[0, 0], out[0, -1], out[-1, 0], out[-1, -1]] == [1, 2, 3, 4]
    assert out[2, 3] == 2.5
