"""Command `src.export`: a checkpoint's network as files for other runtimes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from src.checkpoints.load import LoadedModel, load_checkpoint
from src.cli.config import plain
from src.commands.evaluated_data import data_config
from src.data.module import ClipDataModule
from src.errors import UserError
from src.evaluation.scoring import score_clips, score_stills
from src.evaluation.systems import System
from src.exporting.export import USUAL, ExportOptions, export
from src.exporting.frames import input_runner, video_frames
from src.files import write_json
from src.inference.device import choose_threads
from src.inference.output_folder import atomic_output_folder
from src.instantiate import instantiate
from src.metrics.collection import CONFUSION, ON_VIDEOS, build_metrics
from src.metrics.confusion import DistanceConfusion, iou
from src.models.deploy.inference_form import inference_form
from src.models.video import FrameInput, VideoSegmenter
from src.reports.export import print_export
from src.video.reading.decode import Video

SUMMARY = "export.json"

log = logging.getLogger(__name__)


def export_checkpoint(config: DictConfig) -> dict[str, Any]:
    """Write the files of a checkpoint's network and `export.json`, print the table and return its content.

    Raises:
        UserError: an option, checkpoint, video or output that cannot be used, a network that cannot be exported, or
            files that give something else than the network.
    """
    options = _options(config)
    torch.set_num_threads(options.threads)
    with atomic_output_folder(Path(config.output)) as folder:
        loaded = load_checkpoint(config.checkpoint, config.lr_scale)
        net = inference_form(loaded.network)
        source = config.source
        usual = USUAL if source is None else _size(source, loaded)
        module = None
        if options.precision == "int8" and (source is None or config.data.root is not None):
            module = _module(config, loaded)
        calibration = video_frames(source, loaded) if source else None
        if calibration is None and module is not None:
            calibration = _training_frames(module, loaded)
        video = islice(video_frames(source, loaded), 2 * loaded.gop) if source else None
        exported = export(loaded, net, folder, options, video, calibration, usual)
        summary: dict[str, Any] = {
            **exported.segmenter.metadata,
            "file_format": options.format,
            "compared_on": source or "synthetic frames",
            "compared_size": list(usual if options.size is None else options.size),
            "threads": options.threads,
            "graphs_compared": [row.as_dict() for row in exported.rows],
        }
        if module is not None:
            summary["miou"] = _scores(config, module, loaded, [net, exported.segmenter])
        write_json(folder / SUMMARY, {key: value for key, value in summary.items() if key != "graph"})
    print_export(summary)
    log.info("exported: %s", config.output)
    return summary


def _options(config: DictConfig) -> ExportOptions:
    plain_input = plain(config)["input"]
    height, width = plain_input["height"], plain_input["width"]
    if (height is None) != (width is None):
        raise UserError(f"input.height={height} and input.width={width}: give both; or neither, to leave the size open")
    size = None if height is None else (height, width)
    return ExportOptions(str(config.format), str(config.precision), size, choose_threads(config.threads))


def _size(source: str, loaded: LoadedModel) -> tuple[int, int]:
    """(height, width) of the images that the network sees of a video."""
    info = Video(source, motion="none").info
    return loaded.fit.size(info.height, info.width) if loaded.fit else (info.height, info.width)


def _module(config: DictConfig, loaded: LoadedModel) -> ClipDataModule:
    data = data_config(loaded.metadata, config, str(config.checkpoint))
    plain(data)  # names what is missing
    module: ClipDataModule = instantiate(data.data.module)
    return module


def _training_frames(module: ClipDataModule, loaded: LoadedModel) -> Iterator[FrameInput]:
    """Frames of the training split: still images for networks without memory, else those of its clips."""
    if loaded.network.cycle(2).is_constant:
        runner = input_runner(loaded)
        return (runner.advance(image.read()[0], None, None) for image in module.images(module.train_split))
    clips = module.prepared(module.train_split)
    return chain.from_iterable(video_frames(clip.video, loaded, module.motion) for clip in clips)


def _scores(
    config: DictConfig, module: ClipDataModule, loaded: LoadedModel, networks: list[VideoSegmenter]
) -> dict[str, float]:
    """Mean IoU of the network and of its files on a split of the data set."""
    systems = [System(net, loaded.normalisation, loaded.fit, "", str(config.checkpoint)) for net in networks]
    device, split = torch.device("cpu"), config.split
    confusion = {CONFUSION: DistanceConfusion}
    metrics = build_metrics(confusion, ON_VIDEOS, num_classes=len(loaded.classes), distances=module.encoding.gop)
    if loaded.network.cycle(2).is_constant:
        scores = score_stills(systems, module.images(split), metrics, device)
    else:
        clips, start = module.prepared(split), module.first_scored(split)
        scores = score_clips(systems, clips, metrics, module.motion, device, start)
    own, exported = (float(iou(computed[CONFUSION]).nanmean(1).nanmean()) for computed in scores)
    return {"network": own, "exported": exported}
