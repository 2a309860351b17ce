"""LightningDataModules: a data set, which of its images or clips are drawn, and loaders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, default_collate

from src.data.batch import ClipBatch
from src.data.clips.cache import ClipJob, ClipRecipe, prepare
from src.data.clips.dataset import (
    Candidates,
    ClipDataset,
    ImageDataset,
    Transform,
    default_distances,
    scored_candidates,
    training_candidates,
)
from src.data.clips.table import Clips
from src.data.clips.unlabelled import KEY as UNLABELLED
from src.data.clips.unlabelled import WithUnlabelled, unlabelled_jobs
from src.data.datasets.base import LabelledDataset, LabelledImage, images_of
from src.data.datasets.files import POLICIES
from src.data.label_check import check_labels
from src.data.labels import IGNORE
from src.data.sampling import EpochSampler, PaddedDataset, SparingDataset
from src.data.sharing import check_workers, share_of_batch, worker_count
from src.data.transforms import FitSize, TrainTransform
from src.data.worker import start_worker
from src.distributed import rank_and_world_size
from src.errors import UserError, check_choice, check_range, check_whole
from src.video.reading.gop import ClipMotion
from src.video.reading.random_access import read_frames
from src.video.types import CodecSettings
from src.video.writing.encode import has_exact_vectors

VIEWS = ("still", "frame", "pair", "window")
DISTANCES = ("fixed", "uniform", "balanced")
MOTIONS = ("exact", "estimate", "auto")


class ResumableData(L.LightningDataModule):
    """Keep the position of training in checkpoints; subclasses draw from `training_sampler`.

    Lightning restores this before it asks for loaders, whose processes fetch ahead at once.

    Args:
        batch_size: of training, that of all processes together.
        workers: loader processes of each process; "auto": its share of the cores.

    Raises:
        UserError: a number out of its range.
    """

    def __init__(self, batch_size: int, workers: int | str) -> None:
        super().__init__()
        check_whole("data.batch_size", batch_size, 1)
        check_workers(workers)
        self.batch_size, self.workers = batch_size, workers
        self._start = (0, 0)

    @property
    def loader_processes(self) -> int:
        """Loader processes of this process."""
        return worker_count(self.workers, self.trainer.num_devices if self.trainer else 1)

    @property
    def own_batch_size(self) -> int:
        """Clips that this process takes of each joint batch.

        Raises:
            UserError: the batch cannot be shared evenly.
        """
        return share_of_batch(self.batch_size, self.trainer.world_size if self.trainer else rank_and_world_size()[1])

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch to run or resume, and how many of its batches are done."""
        assert self.trainer is not None
        loop = self.trainer.fit_loop
        epoch: Any = loop.epoch_progress.current
        batch = loop.epoch_loop.batch_progress.current
        return {"epoch": epoch.processed, "batches": batch.ready if epoch.started > epoch.processed else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the position that `state_dict` returned."""
        self._start = state_dict["epoch"], state_dict["batches"]

    def training_sampler(
        self, length: int, batch_size: int, seed: int, groups: NDArray[np.integer[Any]] | None = None
    ) -> EpochSampler:
        """Draw for batches of `batch_size`; in a resumed epoch only what is left of it."""
        sampler = EpochSampler(length, True, seed, groups)
        epoch, batches = self._start
        sampler.resume_at(epoch, batches * batch_size)
        return sampler

    def loader(
        self, dataset: Dataset[Any], batch_size: int, sampler: EpochSampler, drop_last: bool, collate_fn: Any = None
    ) -> DataLoader[Any]:
        """Load batches in `loader_processes` processes; `collate_fn` as of PyTorch."""
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.loader_processes,
            collate_fn=collate_fn,
            drop_last=drop_last,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.loader_processes > 0,
            worker_init_fn=start_worker,
        )


class ClipDataModule(ResumableData):
    """Loaders of `ClipBatch` for training and validation.

    Args:
        source: the data set.
        view: what a clip is: "still" (uncompressed labelled image), "frame" (decoded frame), "pair" (keyframe
            and current frame with the motion between them), "window" (the last `window` decoded frames).
        window: T of the view "window".
        distance: of training clips to their keyframe: "fixed" (pairs: L - 1, the paper's), "uniform" (a labelled
            frame of each GOP) or "balanced" (as many clips, with all distances equally often, however rarely
            frames are labelled there).
        val_distances: distances to the keyframe that validation scores, negative ones from the end of the GOP; None:
            `default_distances` of it.
        val_stride: every n-th of the frames that can be scored.
        longest_gop: score only frames that GOPs of up to this length reach at every distance; None: that of `encoding`.
        clips, val_clips: how the splits become clips.
        encoding: of the clips.
        motion: of pairs: "exact", "estimate", or "auto", which is exact where the codec allows it.
        transform: augmentation of training clips.
        fit: of images before validation, or None; labels keep their size.
        train_split, val_split: names of splits of the source, joined ones as "train+val".
        batch_size: clips per training step, of all processes together.
        val_batch_size: clips per validation step of each process.
        workers: loader processes of each process, and processes that prepare clips; "auto": as many as cores.
        seed: of everything drawn.
        cache: folder of prepared clips.
        unlabelled: videos without labels, of which training takes a pair beside each clip: files, folders, patterns.
        on_damage: "stop" at damaged files, or "skip" images that cannot be read and clips that cannot be made, with a
            warning each.

    Raises:
        UserError: an unknown view, distance, motion or on_damage, a number out of its range, or videos without labels
            for another view than pairs.
    """

    def __init__(
        self,
        source: LabelledDataset,
        view: str,
        window: int,
        distance: str,
        val_distances: list[int] | None,
        val_stride: int,
        longest_gop: int | None,
        clips: ClipRecipe,
        val_clips: ClipRecipe,
        encoding: CodecSettings,
        motion: str,
        transform: TrainTransform,
        fit: FitSize | None,
        train_split: str,
        val_split: str,
        batch_size: int,
        val_batch_size: int,
        workers: int | str,
        seed: int,
        cache: str,
        on_damage: str,
        unlabelled: list[str] | None = None,
    ) -> None:
        super().__init__(batch_size, workers)
        check_choice("data.module.view", view, VIEWS)
        check_choice("data.distance", distance, DISTANCES)
        check_choice("video.motion", motion, MOTIONS)
        check_choice("data.on_damage", on_damage, POLICIES)
        check_whole("data.module.window", window, 1)
        check_whole("data.val_stride", val_stride, 1)
        check_whole("data.longest_gop", longest_gop, 1, null="video.gop")
        check_whole("data.module.val_batch_size", val_batch_size, 1)
        check_whole("seed", seed, 0)
        self.unlabelled = unlabelled
        if self.unlabelled and view != "pair":
            raise UserError(f"{UNLABELLED} needs pairs of frames, this phase has view={view}; leave it out")
        self.source, self.view, self.window, self.distance = source, view, window, distance
        gop = encoding.gop
        check_range(
            val_distances is None or isinstance(val_distances, list),
            "data.val_distances",
            val_distances,
            "a list or null",
        )
        given = default_distances(gop) if val_distances is None else val_distances
        self.val_distances, self.val_stride = [d + gop if d < 0 else d for d in given], val_stride
        self.longest_gop = gop if longest_gop is None else longest_gop
        self.clips, self.val_clips, self.encoding, self.transform = clips, val_clips, encoding, transform
        self.train_split, self.val_split = train_split, val_split
        self.val_batch_size, self.seed = val_batch_size, seed
        self.cache, self.fit, self.on_damage = Path(cache), fit, on_damage
        self.motion = self._motion_source(motion)
        self._prepared: dict[str, Clips] = {}

    def prepare_data(self) -> None:
        """Make the clips that are not in the cache; Lightning calls this in one process per machine."""
        if self.view != "still":
            for split in (self.train_split, self.val_split):
                self.prepared(split)
        if self.unlabelled:
            self.prepared_unlabelled()

    def images(self, split: str) -> list[LabelledImage]:
        """List the labelled images of a split, or of joined ones.

        Raises:
            UserError: a split that the data set does not have.
        """
        return images_of(self.source, split)

    def jobs(self, split: str) -> list[ClipJob]:
        """The clips of a split: of `train_split` for training, of any other for evaluation."""
        recipe = self.clips if split == self.train_split else self.val_clips
        return recipe.jobs(self.source, split, self.encoding.gop)

    def first_scored(self, split: str) -> int:
        """Index in its video of the first frame of a split that is scored."""
        recipe = self.clips if split == self.train_split else self.val_clips
        return recipe.first_scored(self.encoding.gop, self.longest_gop)

    def check_labels(self, split: str, stills: bool, trained: bool) -> None:
        """Look at what the labels of a split add up to, and warn of what is odd.

        Args:
            split: its name.
            stills: those of its still images; else those of its clips.
            trained: a network learns from them.

        Raises:
            UserError: nothing is labelled, all that is learnt from is of one class, a label map cannot be read, or
                images of several sizes cannot be batched.
        """
        if self.source.generated:
            return
        recipe = self.clips if split == self.train_split else self.val_clips
        images = [image.read_labels for image in self.images(split)] if stills else []
        readers = images if stills else recipe.label_maps(self.source, split)
        sizes = check_labels(self.source, split, readers, self.on_damage == "skip", trained)
        if split == self.val_split and self.val_batch_size > 1 and len(sizes) > 1:
            raise UserError(
                f"data.module.val_batch_size={self.val_batch_size} needs images of one size, those of '{split}' have "
                f"{len(sizes)}; give data.module.val_batch_size=1"
            )

    def unlabelled_jobs(self, short: int) -> list[ClipJob]:
        """The clips of videos without labels, scaled to a short side in pixels.

        Raises:
            UserError: a video that cannot be read or is too short.
        """
        coding = round(self.encoding.fps), self.encoding.gop
        return unlabelled_jobs(self.unlabelled or [], *coding, short, self.on_damage)

    def check_distances(self) -> None:
        """See whether validation finds anything; preparing clips needs no distances, so this is not for every use.

        Raises:
            UserError: a distance before the GOP, or none within it.
        """
        inside = any(0 <= d < self.encoding.gop for d in self.val_distances) and min(self.val_distances) >= 0
        allowed = f"distances from 0, or from the end as -1, one of them below video.gop={self.encoding.gop}, or null"
        check_range(inside, "data.val_distances", self.val_distances, allowed)

    def train_dataloader(self) -> DataLoader[ClipBatch]:
        """Shuffled, augmented clips; in a resumed epoch those that are left."""
        groups, length = None, None
        if self.view == "still":
            images = ImageDataset(self.images(self.train_split), self.transform)
            dataset: Dataset[object] = SparingDataset(images, self.on_damage)
        else:
            candidates = training_candidates(self.prepared(self.train_split), self._training_distances())
            length = len(candidates)
            if self.distance == "balanced":
                candidates = candidates.one_per_frame()
                groups = candidates.distances()
            clips = self._dataset(candidates, self.transform)
            dataset = WithUnlabelled(clips, self._pairs_without_labels()) if self.unlabelled else clips
        length = length or len(dataset)  # type: ignore[arg-type]
        own = self.own_batch_size
        sampler = self.training_sampler(length, own, self.seed, groups)
        if len(sampler) < own:
            raise UserError(f"the training split gives {length} clips; lower data.batch_size={self.batch_size}")
        return self.loader(dataset, own, sampler, True, collate)

    def val_dataloader(self) -> DataLoader[ClipBatch]:
        """Whole frames in order, every one exactly once."""
        if self.view == "still":
            images = ImageDataset(self.images(self.val_split), self.fit)
            dataset: Dataset[object] = SparingDataset(images, self.on_damage, _unlabelled)
        else:
            clips = self.prepared(self.val_split)
            first = self.first_scored(self.val_split)
            candidates = scored_candidates(clips, self.val_distances, self.val_stride, self._history(), first)
            dataset = self._dataset(candidates, self.fit)
        sampler = EpochSampler(len(dataset), False, self.seed)  # type: ignore[arg-type]
        return self.loader(PaddedDataset(dataset, _unlabelled), self.val_batch_size, sampler, False, collate)

    def prepared(self, split: str) -> Clips:
        """The clips of a split on disk; those that are not are made. They are looked for once."""
        if split not in self._prepared:
            self._prepared[split] = self._prepare(self.jobs(split))
        return self._prepared[split]

    def prepared_unlabelled(self) -> Clips:
        """The clips of videos without labels, at the size of the labelled ones; those that are not on disk are made."""
        if UNLABELLED not in self._prepared:
            first = next(read_frames(self.prepared(self.train_split)[0].video, 0, 1))
            self._prepared[UNLABELLED] = self._prepare(self.unlabelled_jobs(min(first.shape[:2])))
        return self._prepared[UNLABELLED]

    def _prepare(self, jobs: list[ClipJob]) -> Clips:
        classes, workers = len(self.source.classes), worker_count(self.workers)
        return prepare(jobs, self.encoding, self.cache, workers, self.on_damage, classes)

    def _pairs_without_labels(self) -> ClipDataset:
        candidates = training_candidates(self.prepared_unlabelled(), self._training_distances())
        return self._dataset(candidates, replace(self.transform, class_share=1.0))  # which asks for labels

    def on_after_batch_transfer(self, batch: ClipBatch, dataloader_idx: int) -> ClipBatch:
        """Normalise on the device, where bytes arrive faster than numbers."""
        return batch.ready(self.source.normalisation)

    def _training_distances(self) -> range:
        gop = self.encoding.gop
        if self.view == "pair":
            return range(gop - 1, gop) if self.distance == "fixed" else range(1, gop)
        return range(gop) if self.view == "frame" else range(self.window - 1, gop)

    def _motion_source(self, motion: str) -> ClipMotion:
        if motion != "estimate" and has_exact_vectors(self.encoding.codec):
            return "exact"
        if motion != "exact":
            return "estimate"
        raise UserError(
            f"video.codec={self.encoding.codec}: this version of its encoder gives no motion vectors; set "
            "video.motion=estimate, or code the clips as h264 or mpeg4"
        )

    def _dataset(self, candidates: Candidates, transform: Transform | None) -> ClipDataset:
        return ClipDataset(candidates, self._frames(), self.motion, transform)

    def _frames(self) -> int | str:
        return "pair" if self.view == "pair" else self._history()

    def _history(self) -> int:
        return self.window if self.view == "window" else 1


def collate(samples: list[dict[str, Any]]) -> ClipBatch:
    """Stack the fields of clips; motion that is zero everywhere as one pixel, see `ClipBatch`.

    Raises:
        UserError: they differ in size.
    """
    sizes = sorted({tuple(sample["labels"].shape) for sample in samples})
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for height, width in sizes)
        raise UserError(f"images of one batch are {shown}; give data.module.val_batch_size=1")
    others = [sample["unlabelled"] for sample in samples if "unlabelled" in sample]
    own = [{key: value for key, value in sample.items() if key != "unlabelled"} for sample in samples]
    batch = ClipBatch(**default_collate(own), unlabelled=collate(others) if others else None)
    return batch if batch.motion.any() else replace(batch, motion=batch.motion[..., :1, :1].contiguous())


def _unlabelled(sample: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**sample, "labels": torch.full_like(sample["labels"], IGNORE)}
