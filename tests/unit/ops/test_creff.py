"""The kernel of CReFF stays inside its arrays, whatever positions it is given."""

from __future__ import annotations

import numpy as np
import pytest

from src.ops.cpu import creff_kernel


@pytest.mark.parametrize("position", [np.nan, np.inf, -np.inf, 3e38, -3e38, 7.5, 0.0])
def test_neighbours_are_inside_the_map(position: float) -> None:
    before, after, _ = creff_kernel._neighbours(np.float32(position), 5)
    assert 0 <= before <= after <= 4
