"""Command `src.eval`: score checkpoints on a labelled data set into a table and `metrics.json`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.checkpoints.load import LoadedModel, load_checkpoint
from src.cli.config import plain
from src.commands.evaluated_data import data_config
from src.commands.provenance import write_provenance
from src.data.clips.dataset import is_scored
from src.data.datasets.base import LabelledImage
from src.data.datasets.files import reject_or_skip
from src.data.module import ClipDataModule
from src.errors import UserError
from src.evaluation.results import result_of
from src.evaluation.scoring import score_clips, score_stills, systems_of
from src.files import write_json
from src.inference.device import choose_device, choose_threads
from src.instantiate import instantiate
from src.reports.evaluation import print_results
from src.video.reading.decode import Video

INPUTS = ("videos", "stills")


def evaluate_checkpoint(config: DictConfig) -> None:
    """Write what the run is, score the checkpoints into `metrics.json` and print the table.

    Raises:
        UserError: see `evaluate`.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    write_provenance(run_dir, plain(config))
    evaluate(config, run_dir)
    print(f"metrics: {run_dir / 'metrics.json'}")


def evaluate(config: DictConfig, run_dir: Path) -> list[dict[str, Any]]:
    """Score checkpoints, print the table and write `metrics.json` into the run directory.

    Raises:
        UserError: a wrong checkpoint, a baseline of another data set or scale, or nothing to score in the split.
    """
    if config.inputs not in INPUTS:
        raise UserError(f"inputs={config.inputs} is not one of {', '.join(INPUTS)}; choose one of these")
    torch.set_num_threads(choose_threads(config.threads))
    checkpoints = _load(config)
    first = next(iter(checkpoints.values()))
    systems = systems_of(checkpoints)
    data = data_config(first.metadata, config, next(iter(checkpoints)))
    used = plain(data)  # names what is missing
    module: ClipDataModule = instantiate(data.data.module)
    _check_classes(first, module, config)
    module.check_labels(config.split, config.inputs == "stills")
    device = choose_device(config.device)
    about: dict[str, Any] = {"gop": module.encoding.gop, "split": config.split, "seed": first.metadata["seed"]}
    if config.inputs == "stills":
        stills = module.images(config.split)
        if not stills:
            raise UserError(f"split '{config.split}' has no labelled still images; give another split or inputs=videos")
        left_out: list[UserError] = []

        def damaged(error: UserError) -> None:
            reject_or_skip(str(error), module.on_damage)
            left_out.append(error)

        scores = score_stills(systems, stills, len(first.classes), device, damaged)
        height, width = _first_size(stills)
        about |= {"gop": 1, "codec": None, "frames": len(stills) - len(left_out)}
    else:
        clips = module.prepared(config.split)
        start = module.first_scored(config.split)
        scored = sum(is_scored(clip, index, start) for clip in clips for index in clip.labelled)  # at all distances
        if not scored:
            raise UserError(
                f"no labelled frame of '{config.split}' has {start} frames before it; give a lower video.gop="
                f"{module.encoding.gop} or data.longest_gop={module.longest_gop}"
            )
        scores = score_clips(systems, clips, len(first.classes), data.video.motion, device, start)
        info = Video(clips[0].video, motion="none").info
        height, width = info.height, info.width
        about |= {"codec": module.encoding.codec, "frames": scored}
    (run_dir / "config_evaluated.yaml").write_text(yaml.safe_dump(used, sort_keys=False))
    results = [
        {**result_of(system, metric, first.classes, (height, width), about["gop"]), **about}
        for system, metric in zip(systems, scores, strict=True)
    ]
    print_results(results)  # first, as the disk may be full
    write_json(run_dir / "metrics.json", results)
    return results


def _first_size(stills: list[LabelledImage]) -> tuple[int, int]:
    for still in stills:
        with suppress(UserError):
            height, width = still.read_labels().shape
            return int(height), int(width)
    raise UserError("no image is left: all are damaged; replace them")


def _load(config: DictConfig) -> dict[str, LoadedModel]:
    """Load checkpoints by path, the baseline, which has to suit the first, among them."""
    given = config.checkpoint
    paths = [given] if isinstance(given, str) else list(given)
    if not paths:
        raise UserError("checkpoint=[] names none; give checkpoint=A.ckpt, or checkpoint=[A.ckpt,B.ckpt]")
    loaded = {path: load_checkpoint(path) for path in paths}
    if not config.baseline:
        return loaded
    baseline, main = load_checkpoint(config.baseline), loaded[paths[0]]
    if not baseline.network.cycle(2).is_constant:
        raise UserError(
            f"baseline '{config.baseline}' is not a single-frame network; give one trained at a constant scale, or "
            "several checkpoints as checkpoint=[A,B]"
        )
    if baseline.normalisation != main.normalisation:
        raise UserError(f"baseline '{config.baseline}' was trained with another normalisation; train both on the same")
    if main.network.uses_motion and baseline.network.scale != main.network.scale:
        raise UserError(
            f"baseline '{config.baseline}' was trained at scale {baseline.network.scale}, the checkpoint's low branch "
            f"at {main.network.scale}; give one of the same scale"
        )
    return {**loaded, config.baseline: baseline}


def _check_classes(loaded: LoadedModel, module: ClipDataModule, config: DictConfig) -> None:
    trained, found = loaded.classes.names, module.source.classes.names
    if tuple(trained) != tuple(found):
        raise UserError(
            f"the checkpoint labels {len(trained)} classes ({', '.join(trained[:3])}, ..), the data set has "
            f"{len(found)} ({', '.join(found[:3])}, ..); give data=NAME of a data "
            "set with its classes, or data.void=true where void is one of them (CamVid)"
        )
