"""The one LightningDataModule: a source, a view of its clips, and loaders."""

from __future__ import annotations

import cv2
import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from src.data.batch import ClipBatch
from src.data.sampling import EpochSampler
from src.data.source import Source
from src.data.stills import StillDataset
from src.data.transforms import TrainTransform


class ClipDataModule(L.LightningDataModule):
    """Loaders of `ClipBatch` for training and validation.

    Args:
        source: the data set.
        view: what a clip is: "still" (uncompressed labelled picture).
        transform: augmentation of training clips.
        train_split, val_split: names of splits of the source.
        batch_size: training clips per process and step.
        val_batch_size: validation clips per process and step.
        workers: loader processes.
        seed: of everything drawn.
    """

    def __init__(
        self,
        source: Source,
        view: str,
        transform: TrainTransform,
        train_split: str,
        val_split: str,
        batch_size: int,
        val_batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.source, self.view, self.transform = source, view, transform
        self.train_split, self.val_split = train_split, val_split
        self.batch_size, self.val_batch_size, self.workers, self.seed = batch_size, val_batch_size, workers, seed

    def train_dataloader(self) -> DataLoader[ClipBatch]:
        """Shuffled, augmented clips."""
        dataset = StillDataset(self.source.stills(self.train_split), self.source.normalisation, self.transform)
        return self._loader(dataset, self.batch_size, training=True)

    def val_dataloader(self) -> DataLoader[ClipBatch]:
        """Whole pictures in order, every one exactly once."""
        dataset = StillDataset(self.source.stills(self.val_split), self.source.normalisation, None)
        return self._loader(dataset, self.val_batch_size, training=False)

    def _loader(self, dataset: Dataset[object], batch_size: int, training: bool) -> DataLoader[ClipBatch]:
        return DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=EpochSampler(len(dataset), training, self.seed),  # type: ignore[arg-type]
            num_workers=self.workers,
            collate_fn=collate,
            drop_last=training,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
            worker_init_fn=_one_thread,
        )


def collate(samples: list[dict[str, torch.Tensor | int | str]]) -> ClipBatch:
    """Stack the fields of clips."""
    return ClipBatch(**default_collate(samples))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
