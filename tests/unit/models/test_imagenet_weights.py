"""Starts from weights of a file, of every network that has them."""

from __future__ import annotations

from typing import Any

import pytest

from src.errors import UserError
from src.models.registry import build


@pytest.mark.parametrize("weights", [None, 3, "no_such_file.pth"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("pspnet", {"depth": 18}),
        ("timm", {"encoder": "resnet18"}),
        ("dfanet", {"variant": "a"}),
        ("efficientvit_seg", {"variant": "b0"}),
    ],
)
def test_weights_that_are_no_file_are_refused_by_value(name: str, arguments: dict[str, Any], weights: Any) -> None:
    with pytest.raises(UserError, match=f"weights '{weights}' is neither 'imagenet', 'none' nor a file"):
        build(name, {"num_classes": 3, "weights": weights, **arguments})
