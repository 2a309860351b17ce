"""Scores the ways to segment a compressed film on the same decoded frames, distance by distance."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from src.checkpoints.load import Loaded, load_checkpoint
from src.cli.config import check_rate, plain
from src.data.batch import Sample, normalise
from src.data.clips.cache import Clip
from src.data.clips.dataset import is_scored
from src.data.images import Normalisation
from src.data.labels import ClassSet
from src.data.module import ClipDataModule
from src.data.transforms import FitSize
from src.errors import UserError
from src.evaluation.systems import Row, Step, predictions, rows_of
from src.files import write_json
from src.inference.device import choose_device, choose_threads
from src.instantiate import instantiate
from src.metrics.confusion import DistanceConfusion
from src.metrics.cost import Cost
from src.models.arseg.net import ARSeg
from src.models.base import Segmenter
from src.video.motion.field import MotionChain
from src.video.reading.decode import Video

NO_LABELS = np.zeros((0, 0), np.uint8)

log = logging.getLogger(__name__)


def evaluate(config: DictConfig, run_dir: Path) -> list[dict[str, Any]]:
    """Score the rows of a checkpoint, print the table and write `metrics.json` into the run directory.

    Raises:
        UserError: a wrong checkpoint, a baseline of another data set or scale, or no films in the split.
    """
    torch.set_num_threads(choose_threads(config.threads))
    loaded = load_checkpoint(config.checkpoint)
    rows = _rows(loaded, config.baseline)
    data = _merged(loaded.config, config)
    module: ClipDataModule = instantiate(data.data.module)
    clips = module.prepared(config.split)
    device = choose_device(config.device)
    scores = score(rows, clips, loaded.normalisation, len(loaded.classes), data.video.motion, device, module.fit)
    film = Video(clips[0].video, motion="none").info
    height, width = film.height, film.width
    if module.fit is not None:
        height, width = module.fit.size(height, width)
    about = {
        "height": height,
        "width": width,
        "gop": module.encoding.gop,
        "codec": module.encoding.codec,
        "split": config.split,
        "frames": sum(is_scored(clip, index) for clip in clips for index in clip.labelled),  # at all distances
        "seed": int(loaded.config.seed),
    }
    (run_dir / "config_evaluated.yaml").write_text(yaml.safe_dump(plain(data), sort_keys=False))
    results = [
        {**_result(row, metric, loaded.classes, row.cost((height, width), module.encoding.gop)), **about}
        for row, metric in zip(rows, scores, strict=True)
    ]
    write_json(run_dir / "metrics.json", results)
    print_table(results)
    return results


def score(
    rows: list[Row],
    clips: list[Clip],
    normalisation: Normalisation,
    num_classes: int,
    motion: str,
    device: torch.device,
    fit: FitSize | None = None,
) -> list[DistanceConfusion]:
    """One confusion matrix per row and distance, over the frames that occur at every distance."""
    metrics = [DistanceConfusion(num_classes, clips[0].gop).to(device) for _ in rows]
    for row in rows:
        for net in (value for value in vars(row).values() if isinstance(value, torch.nn.Module)):
            net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    for number, clip in enumerate(clips, start=1):
        for step, labels, distance in _steps(clip, normalisation, motion, device, fit):
            found = predictions(rows, step, None if labels is None else (labels.shape[1], labels.shape[2]))
            if labels is not None:
                for metric, prediction in zip(metrics, found, strict=True):
                    metric.update(prediction, labels, torch.tensor([distance], device=device))
        log.info("scored film %d/%d (%s)", number, len(clips), clip.name)
    return metrics


def _steps(
    clip: Clip, normalisation: Normalisation, motion: str, device: torch.device, fit: FitSize | None
) -> Iterator[tuple[Step, torch.Tensor | None, int]]:
    """Frames of a clip with the labels of those that are scored, and their distance."""
    chain = MotionChain()
    labelled = set(clip.labelled)
    for frame in Video(clip.video, motion=motion):  # type: ignore[arg-type]
        distance = frame.index % clip.gop
        if distance == 0:
            chain.reset()
        to_key = chain.update(frame)
        scored = frame.index in labelled and is_scored(clip, frame.index)
        known = clip.read_labels(frame.index) if scored else NO_LABELS
        sample = Sample(frame.image[None], known, to_key.field, to_key.valid, distance, clip.name)
        if fit is not None:
            sample = fit(sample)
        step = Step(
            normalise(torch.from_numpy(sample.frames).to(device).permute(0, 3, 1, 2), normalisation),
            frame.index,
            distance == 0,
            torch.from_numpy(sample.motion).to(device)[None],
            torch.from_numpy(sample.motion_valid).to(device)[None],
        )
        labels = torch.from_numpy(known).to(device).long()[None] if scored else None
        yield step, labels, distance


def _rows(loaded: Loaded, baseline: str | None) -> list[Row]:
    constant = _baseline(baseline, loaded) if baseline else None
    if isinstance(loaded.net, ARSeg) and constant is not None and constant[1] != loaded.net.lr_scale:
        raise UserError(
            f"baseline '{baseline}' was trained at scale {constant[1]}, AR-Seg's low branch at "
            f"{loaded.net.lr_scale}; give one of the same scale"
        )
    return rows_of(loaded.net, loaded.lr_scale, constant)


def _baseline(path: str, loaded: Loaded) -> tuple[Segmenter, float]:
    baseline = load_checkpoint(path)
    if not isinstance(baseline.net, Segmenter):
        raise UserError(f"baseline '{path}' is not a single-frame network; give one trained at a constant scale")
    if baseline.classes != loaded.classes or baseline.normalisation != loaded.normalisation:
        raise UserError(f"baseline '{path}' was trained on other classes or another normalisation; train it alike")
    return baseline.net, baseline.lr_scale


def _merged(trained: DictConfig, given: DictConfig) -> DictConfig:
    """The training configuration with what the evaluation's command line sets in `data`, `video` and `paths`."""
    check_rate(given)
    merged = trained.copy()
    if given.video.crf is not None:
        OmegaConf.update(merged, "video.bitrate", None)
    for group in ("data", "video", "paths"):
        for key, value in given[group].items():
            if value is not None:
                OmegaConf.update(merged, f"{group}.{key}", value)
    return merged


def _result(row: Row, metric: DistanceConfusion, classes: ClassSet, cost: Cost) -> dict[str, Any]:
    iou = metric.compute()
    by_distance = iou.nanmean(1)
    return {
        "method": row.method,
        "scale": row.scale,
        "miou": float(by_distance.nanmean()),
        "miou_by_distance": [round(float(v), 6) for v in by_distance],
        "iou": {name: float(v) for name, v in zip(classes.names, iou.nanmean(0), strict=True)},
        "gmacs": {"key": cost.key, "nonkey": cost.nonkey, "amortised": cost.amortised},
    }


def print_table(results: list[dict[str, Any]]) -> None:
    """The rows on standard output: mIoU by distance with GMACs, then IoU by class, all IoU in percent."""
    distances = [str(d) for d in range(len(results[0]["miou_by_distance"]))]
    classes = list(results[0]["iou"])
    by_distance = Table(title="mIoU (%): mean and by distance to the keyframe; GMACs per frame")
    by_class = Table(title="IoU (%) by class, mean over distances")
    for table, headings in ((by_distance, ["mean", *distances, "key", "non-key", "amortised"]), (by_class, classes)):
        table.add_column("method", no_wrap=True)
        for heading in headings:
            table.add_column(heading, justify="right")
    for row in results:
        name = f"{row['method']} {row['scale']:g}x" if row["scale"] else row["method"]
        gmacs = [f"{v:.2f}" for v in row["gmacs"].values()]
        by_distance.add_row(name, *(f"{100 * v:.1f}" for v in (row["miou"], *row["miou_by_distance"])), *gmacs)
        by_class.add_row(name, *(f"{100 * row['iou'][c]:.1f}" for c in classes))
    console = Console(width=max(120, 48 + 8 * len(distances)))
    console.print(by_distance)
    console.print(by_class)
