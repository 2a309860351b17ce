"""Finds wrong values of all phases before the first one trains."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from src.checkpoints.load import read_checkpoint
from src.checkpoints.metadata import KEY
from src.data.datasets.base import LabelledDataset
from src.data.module import ClipDataModule, ResumableData
from src.data.sharing import share_of_batch
from src.errors import MissingCheckpoint, UserError, check_whole
from src.instantiate import instantiate
from src.models.base import Segmenter
from src.models.registry import build_shapes, is_network, without_initial_weights
from src.training.callbacks.checkpoint import LAST, checkpoints_of
from src.training.devices import process_count
from src.training.loggers import check_wandb
from src.training.modules.base import build_optimizer
from src.training.networks import network_of
from src.training.plan import needed_by

COUNTS = ("max_epochs", "check_val_every_n_epoch", "accumulate_grad_batches", "num_nodes")


def preflight(resolved: Mapping[str, Any], pending: Sequence[str], run_dir: Path, resumes: bool) -> None:
    """Build what phases are made of, without initial weights and without training.

    Args:
        resolved: configuration of the training as plain Python.
        pending: phases that are to be trained.
        run_dir: where checkpoints of phases are or will be.
        resumes: the run was started before, and its labels were looked at then.

    Raises:
        UserError: a value that something rejects, or a checkpoint of other data.
    """
    to_come = {checkpoints_of(run_dir / name) / LAST for name in pending}
    checked: set[tuple[str, bool]] = set()
    for name in pending:
        spec = resolved["model"]["phases"][name]
        needed = needed_by(name, resolved["model"]["phases"], run_dir)
        checkpoints = {k: path.with_suffix(".pending") if path in to_come else path for k, path in needed.items()}
        trainer = {**resolved["trainer"], **spec["trainer"], **resolved["limits"]}
        check_wandb(resolved["logger"])
        check_counts(trainer, f"model.phases.{name}.trainer")
        data = instantiate(resolved["data"]["module"], **spec["data"])
        processes = process_count(trainer["accelerator"], trainer["devices"], trainer["num_nodes"])
        if isinstance(data, ResumableData):
            share_of_batch(data.batch_size, processes)
        if isinstance(data, ClipDataModule):
            data.check_distances()
            data.unlabelled_jobs(short=1)  # which looks at all videos
            stills = data.view == "still"
            for split in (data.train_split, data.val_split):
                if not resumes and (split, stills) not in checked:
                    data.check_labels(split, stills, trained=split == data.train_split)
                    checked.add((split, stills))
        for path in checkpoints.values():
            if path.exists() or not path.is_relative_to(run_dir):
                _check_same_data(path, data.source)
        network, parts = network_of(spec["module"], resolved)
        optimizer = build_optimizer(instantiate(parts["optimizer"]), [nn.Parameter(torch.zeros(1))])
        _check_clipping(trainer["gradient_clip_val"], optimizer)
        instantiate(parts["scheduler"])(optimizer, total_steps=100)
        try:
            net = build_shapes(network["name"], without_initial_weights(network["arguments"]))
            check_heads(network, parts.get("loss"), _smallest_batch(resolved["data"], processes))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*copying from a non-meta parameter.*")
                instantiate(parts, net=net, class_names=list(data.source.classes.names), **checkpoints)
        except MissingCheckpoint:  # the last thing that modules ask for
            if not any(path.is_relative_to(run_dir) for path in checkpoints.values() if not path.exists()):
                raise


def _smallest_batch(data: Mapping[str, Any], processes: int) -> tuple[int, int, int]:
    """Images, height and width: as configured where one image has to do for batch norm, else small ones."""
    crop = data.get("crop")
    if data.get("batch_size") == processes and isinstance(crop, list):
        return 1, int(crop[0]), int(crop[1])
    return 2, 64, 64


def check_heads(
    network: Mapping[str, Any], loss: Mapping[str, Any] | None, size: tuple[int, int, int] = (2, 64, 64)
) -> None:
    """Reject a loss on training-only outputs that a single-frame network, or the one under AR-Seg, does not have.

    Args:
        network: its name and arguments.
        loss: configuration of a `SegmentationLoss`; None for networks that are trained without one.
        size: images, height and width of a batch.

    Raises:
        UserError: an output that the network does not have, or a batch norm with a single value for each channel.
    """
    read = list((loss or {}).get("auxiliary") or {})
    spec = network["arguments"].get("network", network)
    batch, *image = size
    if not (read or batch == 1) or not is_network(spec):
        return
    net = build_shapes(spec["name"], without_initial_weights(spec["arguments"])).to("meta").train()
    with torch.device("meta"):
        if not isinstance(net, Segmenter):
            return
        try:
            features, taps = net.encode(torch.empty(batch, 3, *image))
            given = net.auxiliary(taps)
            net.classify(features)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"data.batch_size={batch}: batch norm of network '{spec['name']}' has one value for each channel "
                f"({error}); give data.batch_size=2 or more"
            ) from error
    missing = [output for output in read if output not in given]
    if missing:
        raise UserError(
            f"the loss reads the output '{missing[0]}', but network '{spec['name']}' gives {', '.join(given) or 'none'}"
            " beside its logits; give loss@network.loss=NAME of another loss"
        )


def _check_clipping(clip: float | None, optimizer: torch.optim.Optimizer) -> None:
    """In mixed precision Lightning cannot reach the gradients that a fused optimiser unscales by itself."""
    if clip and optimizer.defaults.get("fused"):
        raise UserError(
            f"trainer.gradient_clip_val={clip} cannot be used with a fused optimiser; "
            "give model.optimizer.fused=false, too"
        )


def _check_same_data(path: Path, source: LabelledDataset) -> None:
    """A network trained on other classes or another normalisation would be silently wrong here."""
    theirs = read_checkpoint(path)[KEY]
    if tuple(theirs["classes"]["names"]) != tuple(source.classes.names):
        raise UserError(
            f"checkpoint '{path}' was trained on other classes than this data set's; train both on the same classes"
        )
    theirs, own = theirs["normalisation"], source.normalisation
    if not np.allclose([*theirs["mean"], *theirs["std"]], [*own.mean, *own.std], atol=1e-3):
        raise UserError(
            f"checkpoint '{path}' expects images normalised by mean {theirs['mean']} and std {theirs['std']}; "
            "give the same as data.source.mean=[..] and data.source.std=[..]"
        )


def check_counts(trainer: Mapping[str, Any], place: str) -> None:
    """Reject a Trainer's arguments that Lightning would take at their word.

    Raises:
        UserError: one of `COUNTS` is below 1, or nothing ends the training.
    """
    if trainer.get("max_epochs") is None and trainer.get("max_steps") in (None, -1):
        raise UserError(f"{place}.max_epochs=null would train 1000 epochs; give their number, or max_steps")
    for key in COUNTS:
        check_whole(f"{place}.{key}", trainer.get(key), 1, null="the Trainer's own")
