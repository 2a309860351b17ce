"""Uncompressed labelled pictures as clips of one frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from src.data.batch import Sample
from src.data.sampling import Draw, as_draw
from src.data.source import Normalisation, Still
from src.data.transforms import to_tensors
from src.errors import UserError

Transform = Callable[[Sample, np.random.Generator], Sample]


class StillDataset(Dataset[dict[str, "Tensor | int | str"]]):
    """Pictures of a split, T = 1, distance 0.

    Args:
        stills: what to read.
        normalisation: of the network's input.
        transform: augmentation, or None.

    Raises:
        UserError: no stills.
    """

    def __init__(self, stills: list[Still], normalisation: Normalisation, transform: Transform | None) -> None:
        if not stills:
            raise UserError("the data set has no stills of this split; take decoded frames: data.pictures=frame")
        self.stills, self.normalisation, self.transform = stills, normalisation, transform

    def __len__(self) -> int:
        return len(self.stills)

    def __getitem__(self, draw: Draw | int) -> dict[str, Tensor | int | str]:
        """Fields of `ClipBatch` without B."""
        index, seed = as_draw(draw)
        picture, labels = self.stills[index].read()
        sample = Sample(
            picture[None],
            labels,
            np.zeros((2, *labels.shape), np.float32),
            np.ones(labels.shape, np.bool_),
            0,
            self.stills[index].name,
        )
        if self.transform is not None:
            sample = self.transform(sample, np.random.default_rng(seed))
        return to_tensors(sample, self.normalisation)
