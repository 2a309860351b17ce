"""STDC-Seg: its variants."""

from __future__ import annotations

import pytest

from src.errors import UserError
from src.models.stdc.net import STDCSeg


def test_an_unknown_variant_is_named():
    with pytest.raises(UserError, match="variant 3 is not known"):
        STDCSeg(5, 3)
